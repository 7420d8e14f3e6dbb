// keyedload fills partition 0 of a topic with many small records whose keys and values follow from their numbers, and
// reads a compacted log of them, to the record.
//
//	keyedload fill  -brokers B -topic T -records N -keys K [-value-bytes V] [-seed S]
//	keyedload check -brokers B -topic T -records N -keys K [-value-bytes V] [-seed S] -clean-to O
//
// The topic is empty before, and nobody else writes to it: record n gets offset n. Of the records below offset O, which a
// compaction has been over, `check` expects just those that are the last of their key below O, and of the others all.
// Prints a line of JSON when it is done; fails at the first record that is not the one expected.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

type options struct {
	brokers    []string
	topic      string
	records    int64
	keys       uint64
	valueBytes int
	seed       uint64
	cleanTo    int64
}

// mixed is splitmix64: as good as random, and known from the number alone.
func mixed(n uint64) uint64 {
	n += 0x9e3779b97f4a7c15
	n = (n ^ n>>30) * 0xbf58476d1ce4e5b9
	n = (n ^ n>>27) * 0x94d049bb133111eb
	return n ^ n>>31
}

func (o *options) keyOf(number int64) uint64 { return mixed(o.seed^uint64(number)) % o.keys }

// appendKey: ten digits.
func appendKey(to []byte, key uint64) []byte { return fmt.Appendf(to, "%010d", key) }

// appendValue: no two are alike, and they do not compress well.
func (o *options) appendValue(to []byte, number int64) []byte {
	const digits = "0123456789abcdef"
	end := len(to) + o.valueBytes
	for state := mixed(uint64(number)); len(to) < end; state = mixed(state) {
		for shift := 0; shift < 64 && len(to) < end; shift += 4 {
			to = append(to, digits[state>>shift&15])
		}
	}
	return to
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: keyedload fill|check [flags]"))
	}
	var o options
	var brokers string
	set := flag.NewFlagSet(os.Args[1], flag.ExitOnError)
	set.StringVar(&brokers, "brokers", "", "bootstrap addresses, separated by commas")
	set.StringVar(&o.topic, "topic", "", "topic")
	set.Int64Var(&o.records, "records", 1_000_000, "records")
	set.Uint64Var(&o.keys, "keys", 100_000, "different keys")
	set.IntVar(&o.valueBytes, "value-bytes", 50, "bytes of a value")
	set.Uint64Var(&o.seed, "seed", 1, "seed of the order of keys")
	set.Int64Var(&o.cleanTo, "clean-to", 0, "offset up to which the log was compacted")
	if err := set.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	o.brokers = strings.Split(brokers, ",")
	run := map[string]func(options) (any, error){"fill": fill, "check": check}[os.Args[1]]
	if run == nil {
		fail(fmt.Errorf("unknown command %q", os.Args[1]))
	}
	done, err := run(o)
	if err != nil {
		fail(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(done)
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "keyedload:", err)
	os.Exit(1)
}

func fill(o options) (any, error) {
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(o.brokers...),
		kgo.RecordPartitioner(kgo.ManualPartitioner()),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerBatchMaxBytes(512<<10),
		kgo.ProducerLinger(20*time.Millisecond),
		kgo.MaxBufferedRecords(64<<10),
		kgo.DefaultProduceTopic(o.topic),
	)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	began := time.Now()
	var failed error
	var acknowledged int64
	promise := func(r *kgo.Record, err error) { // one at a time, in order
		if err == nil && r.Offset != acknowledged {
			err = fmt.Errorf("record %d is at offset %d", acknowledged, r.Offset)
		}
		if err != nil && failed == nil {
			failed = err
		}
		acknowledged++
	}
	ctx := context.Background()
	const lot = 1 << 12
	for first := int64(0); first < o.records; first += lot {
		// One allocation of each for many records.
		records := make([]kgo.Record, min(lot, o.records-first))
		content := make([]byte, 0, len(records)*(10+o.valueBytes))
		for at := range records {
			number := first + int64(at)
			begin := len(content)
			content = appendKey(content, o.keyOf(number))
			middle := len(content)
			content = o.appendValue(content, number)
			records[at].Key, records[at].Value = content[begin:middle:middle], content[middle:len(content):len(content)]
			cl.Produce(ctx, &records[at], promise)
		}
	}
	if err := cl.Flush(ctx); err != nil {
		return nil, err
	}
	if failed != nil {
		return nil, failed
	}
	return map[string]any{"records": acknowledged, "seconds": time.Since(began).Seconds()}, nil
}

func check(o options) (any, error) {
	last := make([]int64, o.keys) // offset plus one
	for number := range o.cleanTo {
		last[o.keyOf(number)] = number + 1
	}
	keys := 0
	for _, after := range last {
		if after > 0 {
			keys++
		}
	}
	cl, err := kgo.NewClient(
		kgo.SeedBrokers(o.brokers...),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{o.topic: {0: kgo.NewOffset().AtStart()}}),
		kgo.FetchMaxPartitionBytes(8<<20),
	)
	if err != nil {
		return nil, err
	}
	defer cl.Close()
	began := time.Now()
	next, read := int64(0), 0 // from here on the next record is to be found
	var key, value []byte
	for next < o.records {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		fetches := cl.PollFetches(ctx)
		cancel()
		if err := fetches.Err(); err != nil {
			return nil, fmt.Errorf("after %d records, at offset %d: %w", read, next, err)
		}
		for iter := fetches.RecordIter(); !iter.Done(); {
			r := iter.Next()
			for next < o.cleanTo && last[o.keyOf(next)] != next+1 {
				next++ // superseded
			}
			key, value = appendKey(key[:0], o.keyOf(next)), o.appendValue(value[:0], next)
			if r.Offset != next || !bytes.Equal(r.Key, key) || !bytes.Equal(r.Value, value) {
				return nil, fmt.Errorf("found key %s at offset %d, expected key %s at %d", r.Key, r.Offset, key, next)
			}
			next, read = next+1, read+1
		}
	}
	return map[string]any{
		"records": read, "keys_below": keys, "records_above": o.records - o.cleanTo, "seconds": time.Since(began).Seconds(),
	}, nil
}
