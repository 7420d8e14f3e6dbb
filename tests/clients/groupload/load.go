package main

import (
	"fmt"
	"maps"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

const (
	offsetFetchVersion  = 7
	offsetCommitVersion = 8
	violationsKept      = 20
	pauseAfterError     = 100 * time.Millisecond
)

// load is all groups and what has come of them.
type load struct {
	options
	finder  *finder
	topicID [16]byte
	groups  []*group
	joining chan struct{}

	heartbeats, commits, fetches, joins atomic.Int64
	latency                             latencies
	mutex                               sync.Mutex
	marked                              time.Time
	errors                              map[string]int64
	violations                          []string
	violationCount                      int64
}

type group struct {
	name    string
	place   place
	offsets []tracked
	members []*member
}

// tracked is what is known of one partition's committed offset in a group. Offsets begin at 1; 0 is none.
type tracked struct {
	mutex        sync.Mutex
	acknowledged int64
	sent         int64
}

// next is an offset that was never sent before.
func (t *tracked) next() int64 {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.sent++
	return t.sent
}

func (t *tracked) acknowledge(offset int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	t.acknowledged = max(t.acknowledged, offset)
}

func (t *tracked) bounds() (acknowledged, sent int64) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	return t.acknowledged, t.sent
}

func newLoad(o options) *load {
	l := &load{
		options: o,
		finder:  newFinder(o.brokers, o.requestTimeout),
		joining: make(chan struct{}, o.joining),
		marked:  time.Now(),
		errors:  map[string]int64{},
	}
	for n := range o.groups {
		g := &group{name: fmt.Sprintf("%s-%d", o.prefix, n), offsets: make([]tracked, o.members)}
		for range o.members {
			g.members = append(g.members, &member{load: l, group: g})
		}
		l.groups = append(l.groups, g)
	}
	return l
}

func (l *load) run() {
	for {
		var err error
		if l.topicID, err = l.finder.topicID(l.topic); err == nil {
			break
		}
		l.failed("metadata", err)
		time.Sleep(pauseAfterError)
	}
	for _, g := range l.groups {
		for _, m := range g.members {
			l.joining <- struct{}{}
			go m.run()
		}
	}
}

func (l *load) failed(what string, err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.errors[what+": "+cause(err)]++
}

func (l *load) violated(format string, arguments ...any) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.violationCount++
	if len(l.violations) < violationsKept {
		l.violations = append(l.violations, fmt.Sprintf(format, arguments...))
	}
}

func (l *load) mark() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.marked = time.Now()
	l.errors = map[string]int64{}
	for _, counter := range []*atomic.Int64{&l.heartbeats, &l.commits, &l.fetches, &l.joins} {
		counter.Store(0)
	}
	l.latency.clear()
}

func (l *load) status() map[string]any {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	since := l.marked.UnixNano()
	var gone, stable int
	var behind []string
	for _, g := range l.groups {
		all := true
		for _, m := range g.members {
			last := m.committed.Load()
			if l.commit == 0 {
				last = m.answered.Load()
			}
			if last < since {
				all = false
			}
			if m.stable.Load() {
				stable++
			}
		}
		if all {
			gone++
		} else if len(behind) < 5 {
			behind = append(behind, g.name)
		}
	}
	return map[string]any{
		"seconds":         time.Since(l.marked).Seconds(),
		"groups_gone_on":  gone,
		"behind":          behind,
		"members_stable":  stable,
		"heartbeats":      l.heartbeats.Load(),
		"commits":         l.commits.Load(),
		"fetches":         l.fetches.Load(),
		"joins":           l.joins.Load(),
		"errors":          maps.Clone(l.errors), // members go on adding to it
		"violations":      l.violations,
		"violation_count": l.violationCount,
		"heartbeat_ms":    l.latency.quantiles(),
	}
}

// check fetches the offsets of all groups, several at a time.
func (l *load) check() map[string]any {
	var checked, failed atomic.Int64
	var wait sync.WaitGroup
	places := make(chan struct{}, 16)
	for _, g := range l.groups {
		places <- struct{}{}
		wait.Add(1)
		go func() {
			defer func() { <-places; wait.Done() }()
			if err := l.checkGroup(g); err != nil {
				failed.Add(1)
				l.failed("check", err)
				return
			}
			checked.Add(1)
		}()
	}
	wait.Wait()
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return map[string]any{
		"checked": checked.Load(), "failed": failed.Load(), "errors": maps.Clone(l.errors),
		"violations": l.violations, "violation_count": l.violationCount,
	}
}

func (l *load) checkGroup(g *group) error {
	var err error
	lost := 0
	for range 50 {
		var address string
		if address, lost, err = g.place.get(l.finder, g.name, lost); err == nil {
			var conn *connection
			if conn, err = connect(address, "groupload-check", l.requestTimeout); err == nil {
				_, err = l.fetchOffsets(conn, g, nil)
				conn.close()
				if err == nil {
					return nil
				}
			}
		}
		time.Sleep(pauseAfterError)
	}
	return err
}

// fetchOffsets fetches the offsets of these partitions, or all, and looks whether they are right.
func (l *load) fetchOffsets(conn *connection, g *group, partitions []int32) (map[int32]int64, error) {
	if partitions == nil {
		for p := range g.offsets {
			partitions = append(partitions, int32(p))
		}
	}
	before := map[int32]int64{}
	for _, p := range partitions {
		before[p], _ = g.offsets[p].bounds()
	}
	request := kmsg.NewPtrOffsetFetchRequest()
	request.SetVersion(offsetFetchVersion)
	request.Group = g.name
	topic := kmsg.NewOffsetFetchRequestTopic()
	topic.Topic, topic.Partitions = l.topic, partitions
	request.Topics = append(request.Topics, topic)
	response, err := conn.ask(request, l.requestTimeout)
	if err != nil {
		return nil, err
	}
	answer := response.(*kmsg.OffsetFetchResponse)
	if answer.ErrorCode != 0 {
		return nil, protocolError(answer.ErrorCode)
	}
	l.fetches.Add(1)
	found := map[int32]int64{}
	for _, t := range answer.Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return nil, protocolError(p.ErrorCode)
			}
			found[p.Partition] = p.Offset
		}
	}
	for p, acknowledged := range before {
		offset, ok := found[p]
		offset = max(offset, 0)
		_, sent := g.offsets[p].bounds()
		if !ok || offset < acknowledged || offset > sent {
			l.violated("group %s, partition %d: offset %d is committed (told: %v), %d was acknowledged and %d the last sent",
				g.name, p, offset, ok, acknowledged, sent)
		}
	}
	return found, nil
}

// latencies counts answers by how long they took, in steps of a tenth of a millisecond up to a second.
type latencies struct {
	counts [10_001]atomic.Int64
}

func (h *latencies) add(took time.Duration) {
	h.counts[min(int(took/(100*time.Microsecond)), len(h.counts)-1)].Add(1)
}

func (h *latencies) clear() {
	for at := range h.counts {
		h.counts[at].Store(0)
	}
}

func (h *latencies) quantiles() map[string]float64 {
	var total int64
	for at := range h.counts {
		total += h.counts[at].Load()
	}
	result := map[string]float64{}
	wanted := map[string]float64{"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1}
	names := make([]string, 0, len(wanted))
	for name := range wanted {
		names = append(names, name)
	}
	sort.Slice(names, func(a, b int) bool { return wanted[names[a]] < wanted[names[b]] })
	var seen int64
	next := 0
	for at := range h.counts {
		seen += h.counts[at].Load()
		for next < len(names) && total > 0 && float64(seen) >= wanted[names[next]]*float64(total) {
			result[names[next]] = float64(at+1) / 10
			next++
		}
	}
	return result
}
