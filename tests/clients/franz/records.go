package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// record is the line format of the harness; []byte travels as base64, nil as null.
type record struct {
	Partition     int32       `json:"p"`
	Key           []byte      `json:"k"`
	Value         []byte      `json:"v"`
	Headers       [][2][]byte `json:"h"`
	TimestampMs   int64       `json:"t"`
	TimestampType int8        `json:"tt"`
	Offset        int64       `json:"o"`
}

func client(f flags, more ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append([]kgo.Opt{
		kgo.SeedBrokers(strings.Split(f.brokers, ",")...),
		kgo.FetchMaxWait(500 * time.Millisecond),
		kgo.MetadataMinAge(100 * time.Millisecond), // its default would make a test wait seconds for a new topic

	}, more...)...)
}

func codec(name string) (kgo.CompressionCodec, error) {
	switch name {
	case "none":
		return kgo.NoCompression(), nil
	case "gzip":
		return kgo.GzipCompression(), nil
	case "snappy":
		return kgo.SnappyCompression(), nil
	case "lz4":
		return kgo.Lz4Compression(), nil
	case "zstd":
		return kgo.ZstdCompression(), nil
	}
	return kgo.NoCompression(), fmt.Errorf("unknown compression %q", name)
}

// produce sends the records of stdin in order, each to the partition it names, and prints where each one landed.
func produce(f flags) error {
	compression, err := codec(f.compression)
	if err != nil {
		return err
	}
	opts := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(compression),
		kgo.ProducerBatchMaxBytes(int32(f.batchBytes)),
		kgo.ProducerLinger(20 * time.Millisecond),
		kgo.MaxBufferedRecords(1 << 20),
	}
	if f.acks == "leader" {
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	} else if !f.idempotent {
		opts = append(opts, kgo.DisableIdempotentWrite())
	}
	cl, err := client(f, opts...)
	if err != nil {
		return err
	}
	defer cl.Close()

	var sent []*kgo.Record
	lines := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	for {
		var r record
		if err := lines.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		out := &kgo.Record{Topic: f.topic, Partition: r.Partition, Key: r.Key, Value: r.Value}
		if r.TimestampMs >= 0 {
			out.Timestamp = time.UnixMilli(r.TimestampMs)
		}
		for _, h := range r.Headers {
			out.Headers = append(out.Headers, kgo.RecordHeader{Key: string(h[0]), Value: h[1]})
		}
		sent = append(sent, out)
	}
	var failed error
	for _, r := range sent {
		cl.Produce(context.Background(), r, func(_ *kgo.Record, err error) {
			if err != nil && failed == nil {
				failed = err // callbacks run one at a time
			}
		})
	}
	// Not RecordDeliveryTimeout: that counts from the record's timestamp, which the tests choose.
	ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
	defer cancel()
	if err := cl.Flush(ctx); err != nil {
		return err
	}
	if failed != nil {
		return failed
	}
	out := newPrinter()
	for _, r := range sent {
		out.print(map[string]any{"p": r.Partition, "o": r.Offset})
	}
	return out.flush()
}

// numbered is a record of load: its number is the sender's own, and tells it what became of which.
type numbered struct {
	Partition int32  `json:"p"`
	Number    int64  `json:"n"`
	Value     []byte `json:"v"`
}

// load sends the records of stdin as they come, idempotently, with franz-go's own time-outs (none: it tries for ever),
// and prints a line for each that is acknowledged or given up.
func load(f flags) error {
	cl, err := client(f, kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(2*time.Millisecond))
	if err != nil {
		return err
	}
	defer cl.Close()
	out := newPrinter()
	lines := json.NewDecoder(bufio.NewReaderSize(os.Stdin, 1<<20))
	for {
		var r numbered
		if err := lines.Decode(&r); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		cl.Produce(context.Background(), &kgo.Record{Topic: f.topic, Partition: r.Partition, Value: r.Value},
			func(sent *kgo.Record, err error) { // one at a time
				report := map[string]any{"p": r.Partition, "n": r.Number, "o": sent.Offset}
				if err != nil {
					report["e"] = err.Error()
				}
				out.print(report)
				out.flush()
			})
	}
	return cl.Flush(context.Background())
}

// consume prints the topic's first records, from the start of every partition, until it has the count asked for or
// the time is up.
func consume(f flags) error {
	cl, err := client(f,
		kgo.ConsumeTopics(f.topic),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchMaxPartitionBytes(8<<20))
	if err != nil {
		return err
	}
	defer cl.Close()
	ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
	defer cancel()
	out := newPrinter()
	for read := 0; read < f.count; {
		fetches := cl.PollFetches(ctx)
		if errors.Is(fetches.Err(), context.DeadlineExceeded) {
			break // the caller sees that there are fewer
		} else if err := fetches.Err(); err != nil {
			return fmt.Errorf("after %d of %d records: %w", read, f.count, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			out.record(r)
			read++
		})
	}
	return out.flush()
}

// group is one member of a consumer group. It prints what it reads as it reads it, commits, and leaves the group in an
// orderly way when its stdin ends.
func group(f flags) error {
	cl, err := client(f,
		kgo.ConsumeTopics(f.topic),
		kgo.ConsumerGroup(f.group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.AutoCommitMarks(),
		kgo.AutoCommitInterval(time.Second),
		kgo.HeartbeatInterval(500*time.Millisecond),
		kgo.SessionTimeout(10*time.Second),
		kgo.RebalanceTimeout(10*time.Second))
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	out := newPrinter()
	for ctx.Err() == nil {
		fetches := cl.PollFetches(ctx)
		fetches.EachRecord(func(r *kgo.Record) {
			out.record(r)
			cl.MarkCommitRecords(r)
		})
		if err := out.flush(); err != nil {
			return err
		}
	}
	err = cl.CommitMarkedOffsets(context.Background())
	cl.Close()
	return err
}

type printer struct {
	w *bufio.Writer
	e *json.Encoder
}

func newPrinter() printer {
	w := bufio.NewWriterSize(os.Stdout, 1<<20)
	return printer{w, json.NewEncoder(w)}
}

func (p printer) print(line any) { p.e.Encode(line) }
func (p printer) flush() error   { return p.w.Flush() }

func (p printer) record(r *kgo.Record) {
	line := record{
		Partition: r.Partition, Key: r.Key, Value: r.Value,
		TimestampMs: r.Timestamp.UnixMilli(), TimestampType: r.Attrs.TimestampType(), Offset: r.Offset,
		Headers: [][2][]byte{},
	}
	for _, h := range r.Headers {
		line.Headers = append(line.Headers, [2][]byte{[]byte(h.Key), h.Value})
	}
	p.print(line)
}
