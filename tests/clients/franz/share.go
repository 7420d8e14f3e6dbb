package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// order is a line of stdin of share: {"do":"start",...} once, then {"do":"close"}.
type order struct {
	Do         string   `json:"do"`
	Member     string   `json:"m"`
	Bootstrap  string   `json:"bootstrap"`
	Group      string   `json:"group"`
	Topics     []string `json:"topics"`
	Pattern    string   `json:"pattern"`
	Assignor   string   `json:"assignor"`
	Protocol   string   `json:"protocol"`
	Instance   string   `json:"instance"`
	SessionMs  int      `json:"session_ms"`
	MetadataMs int      `json:"metadata_ms"`
}

// sharer is one member of a group that commits what it has processed before it polls again, and tells what befalls it
// (the lines are described in harness/sharing/worker.py). Its callbacks never run while records are processed.
type sharer struct {
	name    string
	cl      *kgo.Client
	mu      sync.Mutex // of what is pending: callbacks run beside a poll
	pending map[string]map[int32]kgo.EpochOffset
	out     *json.Encoder
	outMu   sync.Mutex
}

func share() error {
	lines := json.NewDecoder(bufio.NewReader(os.Stdin))
	var o order
	if err := lines.Decode(&o); err != nil {
		return err
	}
	s := &sharer{name: o.Member, pending: map[string]map[int32]kgo.EpochOffset{}, out: json.NewEncoder(os.Stdout)}
	opts, err := s.options(o)
	if err != nil {
		return err
	}
	if s.cl, err = client(flags{brokers: o.Bootstrap}, opts...); err != nil {
		return err
	}
	s.say("started", nil)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		var next order
		lines.Decode(&next) // close, or the end of stdin
		cancel()
	}()
	for ctx.Err() == nil {
		s.process(s.cl.PollFetches(ctx))
		s.commit()
		s.cl.AllowRebalance()
	}
	s.commit()
	s.say("closing", nil)
	s.cl.CloseAllowingRebalance()
	s.say("closed", nil)
	return nil
}

func (s *sharer) options(o order) ([]kgo.Opt, error) {
	opts := []kgo.Opt{
		kgo.ConsumerGroup(o.Group),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.DisableAutoCommit(),
		kgo.BlockRebalanceOnPoll(),
		kgo.HeartbeatInterval(500 * time.Millisecond),
		kgo.SessionTimeout(time.Duration(o.SessionMs) * time.Millisecond),
		kgo.MetadataMaxAge(time.Duration(o.MetadataMs) * time.Millisecond),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			s.forget(moved)
			s.moved("assigned", moved)
		}),
		kgo.OnPartitionsRevoked(func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			s.commit()
			s.forget(moved)
			s.moved("revoked", moved)
		}),
		kgo.OnPartitionsLost(func(_ context.Context, _ *kgo.Client, moved map[string][]int32) {
			s.forget(moved)
			s.moved("lost", moved)
		}),
	}
	switch o.Assignor {
	case "default":
	case "range":
		opts = append(opts, kgo.Balancers(kgo.RangeBalancer()))
	case "roundrobin":
		opts = append(opts, kgo.Balancers(kgo.RoundRobinBalancer()))
	case "sticky", "uniform":
		opts = append(opts, kgo.Balancers(kgo.StickyBalancer()))
	case "cooperative-sticky":
		opts = append(opts, kgo.Balancers(kgo.CooperativeStickyBalancer()))
	default:
		return nil, fmt.Errorf("unknown assignor %q", o.Assignor)
	}
	if o.Protocol == "consumer" {
		opts = append(opts, kgo.ServerSideBalancer())
	}
	if o.Instance != "" {
		opts = append(opts, kgo.InstanceID(o.Instance))
	}
	if o.Pattern != "" {
		return append(opts, kgo.ConsumeTopics(o.Pattern), kgo.ConsumeRegex()), nil
	}
	return append(opts, kgo.ConsumeTopics(o.Topics...)), nil
}

func (s *sharer) process(fetches kgo.Fetches) {
	for _, failed := range fetches.Errors() {
		// What ends a session is told to the callbacks, and the client joins again by itself.
		var group *kgo.ErrGroupSession
		if !errors.Is(failed.Err, context.Canceled) && !errors.As(failed.Err, &group) && !kerr.IsRetriable(failed.Err) {
			s.say("error", map[string]any{"error": failed.Err.Error()})
		}
	}
	var runs [][4]any
	s.mu.Lock()
	fetches.EachPartition(func(p kgo.FetchTopicPartition) {
		if len(p.Records) == 0 {
			return
		}
		first, last := p.Records[0].Offset, p.Records[0].Offset-1
		for _, r := range p.Records {
			if r.Offset != last+1 {
				runs = append(runs, [4]any{p.Topic, p.Partition, first, last})
				first = r.Offset
			}
			last = r.Offset
		}
		runs = append(runs, [4]any{p.Topic, p.Partition, first, last})
		if s.pending[p.Topic] == nil {
			s.pending[p.Topic] = map[int32]kgo.EpochOffset{}
		}
		s.pending[p.Topic][p.Partition] = kgo.EpochOffset{Epoch: -1, Offset: last + 1}
	})
	s.mu.Unlock()
	if len(runs) > 0 {
		s.say("read", map[string]any{"runs": runs})
	}
}

// commit commits what is pending. What cannot be committed now is tried again after the next poll, if still owned.
func (s *sharer) commit() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.pending) == 0 {
		return
	}
	var told [][3]any
	for topic, partitions := range s.pending {
		for p, at := range partitions {
			told = append(told, [3]any{topic, p, at.Offset})
		}
	}
	began, failed := now(), error(nil)
	s.cl.CommitOffsetsSync(context.Background(), s.pending, func(_ *kgo.Client, _ *kmsg.OffsetCommitRequest, answer *kmsg.OffsetCommitResponse, err error) {
		failed = err
		if err == nil {
			for _, t := range answer.Topics {
				for _, p := range t.Partitions {
					if err := kerr.ErrorForCode(p.ErrorCode); err != nil {
						failed = err
					}
				}
			}
		}
	})
	fields := map[string]any{"offsets": told, "began": began}
	if failed != nil {
		fields["error"] = failed.Error()
		s.say("commit-failed", fields)
		return
	}
	s.pending = map[string]map[int32]kgo.EpochOffset{}
	s.say("committed", fields)
}

func (s *sharer) forget(moved map[string][]int32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for topic, partitions := range moved {
		for _, p := range partitions {
			delete(s.pending[topic], p)
		}
		if len(s.pending[topic]) == 0 {
			delete(s.pending, topic)
		}
	}
}

func (s *sharer) moved(what string, moved map[string][]int32) {
	told := [][2]any{}
	for topic, partitions := range moved {
		for _, p := range partitions {
			told = append(told, [2]any{topic, p})
		}
	}
	s.say(what, map[string]any{"partitions": told})
}

func (s *sharer) say(what string, fields map[string]any) {
	line := map[string]any{"m": s.name, "e": what, "t": now()}
	for k, v := range fields {
		line[k] = v
	}
	s.outMu.Lock()
	defer s.outMu.Unlock()
	s.out.Encode(line)
}

func now() float64 { return float64(time.Now().UnixMicro()) / 1e6 }
