package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sort"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Error codes that members act on.
const (
	coordinatorLoadInProgress = 14
	coordinatorNotAvailable   = 15
	notCoordinator            = 16
	illegalGeneration         = 22
	unknownMemberID           = 25
	rebalanceInProgress       = 27
	memberIDRequired          = 79
	fencedMemberEpoch         = 110
	staleMemberEpoch          = 113
)

// member is one member of a group, on one connection.
type member struct {
	load  *load
	group *group
	conn  *connection
	lost  int // version of the coordinator's place that was of no use

	id         string
	generation int32
	partitions []int32
	fetched    bool // offsets of these partitions have been looked at

	interval time.Duration // between heartbeats, as the broker says (consumer protocol)
	told     bool          // the broker knows that these partitions are owned (consumer protocol)

	stable    atomic.Bool
	answered  atomic.Int64 // when a heartbeat was last answered well, in Unix nanoseconds
	committed atomic.Int64 // when a commit last was
}

// begun lets the next member begin, once.
type begun struct {
	place chan struct{}
	done  bool
}

func (b *begun) now() {
	if !b.done {
		b.done = true
		<-b.place
	}
}

func (m *member) run() {
	first := begun{place: m.load.joining}
	for {
		if err := m.live(&first); err != nil {
			m.stable.Store(false)
			m.recover(err)
		}
	}
}

// recover draws the conclusions of an error, as clients do.
func (m *member) recover(err error) {
	var code protocolError
	if !errors.As(err, &code) {
		m.load.failed("connection", err)
		m.leaveConnection()
		time.Sleep(pauseAfterError)
		return
	}
	switch int(code) {
	case rebalanceInProgress:
		if m.load.protocol == "classic" {
			m.generation = -1
		}
		return
	case staleMemberEpoch: // the next heartbeat's answer has the new one
		return
	case memberIDRequired:
		return
	case illegalGeneration, unknownMemberID, fencedMemberEpoch:
		if int(code) == unknownMemberID && m.load.protocol == "classic" {
			m.id = ""
		}
		m.generation = -1
		m.partitions, m.fetched = nil, false
	case coordinatorNotAvailable, notCoordinator:
		m.leaveConnection()
	}
	m.load.failed("protocol", err)
	time.Sleep(pauseAfterError)
}

func (m *member) leaveConnection() {
	m.conn.close()
	m.conn = nil
}

func (m *member) ask(request kmsg.Request, timeout time.Duration) (kmsg.Response, error) {
	if m.conn == nil {
		address, version, err := m.group.place.get(m.load.finder, m.group.name, m.lost)
		if err != nil {
			return nil, err
		}
		// If it is of no use, another is looked for.
		m.lost = version
		if m.conn, err = connect(address, "groupload", m.load.requestTimeout); err != nil {
			return nil, err
		}
	}
	return m.conn.ask(request, timeout)
}

// live joins if need be, and sends heartbeats and commits until something is wrong.
func (m *member) live(first *begun) error {
	if m.load.protocol == "consumer" {
		return m.liveByEpochs(first)
	}
	if m.generation <= 0 {
		if err := m.join(); err != nil {
			return err
		}
	}
	first.now()
	return m.beat(m.load.heartbeat, m.heartbeat)
}

// beat calls heartbeat at every interval, and commits in between.
func (m *member) beat(interval time.Duration, heartbeat func() error) error {
	// Spread over the interval, and kept so.
	nextBeat := time.Now().Add(rand.N(interval))
	nextCommit := time.Time{}
	if m.load.commit > 0 {
		nextCommit = time.Now().Add(rand.N(m.load.commit))
	}
	if !m.fetched && len(m.partitions) > 0 {
		if _, err := m.load.fetchOffsets(m.conn, m.group, m.partitions); err != nil {
			return err
		}
		m.fetched = true
	}
	m.stable.Store(true)
	for {
		next := nextBeat
		commits := !nextCommit.IsZero() && nextCommit.Before(nextBeat)
		if commits {
			next = nextCommit
		}
		time.Sleep(time.Until(next))
		if commits {
			nextCommit = later(nextCommit, m.load.commit)
			if err := m.commit(); err != nil {
				return err
			}
			continue
		}
		nextBeat = later(nextBeat, interval)
		began := time.Now()
		if err := heartbeat(); err != nil {
			return err
		}
		m.load.latency.add(time.Since(began))
		m.load.heartbeats.Add(1)
		m.answered.Store(time.Now().UnixNano())
	}
}

// later is the next time at which something is due, which is not missed time made up for.
func later(due time.Time, interval time.Duration) time.Time {
	if next := due.Add(interval); next.After(time.Now()) {
		return next
	}
	return time.Now().Add(interval)
}

func (m *member) join() error {
	request := kmsg.NewPtrJoinGroupRequest()
	request.SetVersion(7)
	request.Group = m.group.name
	request.SessionTimeoutMillis = int32(m.load.session.Milliseconds())
	request.RebalanceTimeoutMillis = int32(m.load.rebalance.Milliseconds())
	request.MemberID = m.id
	request.ProtocolType = "consumer"
	protocol := kmsg.NewJoinGroupRequestProtocol()
	protocol.Name = "range"
	subscription := kmsg.NewConsumerMemberMetadata()
	subscription.Topics = []string{m.load.topic}
	protocol.Metadata = subscription.AppendTo(nil)
	request.Protocols = append(request.Protocols, protocol)
	response, err := m.ask(request, m.load.rebalance+m.load.requestTimeout)
	if err != nil {
		return err
	}
	joined := response.(*kmsg.JoinGroupResponse)
	if joined.ErrorCode == memberIDRequired {
		m.id = joined.MemberID
	}
	if joined.ErrorCode != 0 {
		return protocolError(joined.ErrorCode)
	}
	m.load.joins.Add(1)
	m.id = joined.MemberID
	sync := kmsg.NewPtrSyncGroupRequest()
	sync.SetVersion(3)
	sync.Group, sync.Generation, sync.MemberID = m.group.name, joined.Generation, m.id
	if joined.LeaderID == m.id {
		sort.Slice(joined.Members, func(a, b int) bool { return joined.Members[a].MemberID < joined.Members[b].MemberID })
		for n, of := range joined.Members {
			assigned := kmsg.NewSyncGroupRequestGroupAssignment()
			assigned.MemberID = of.MemberID
			if n < m.load.members {
				assigned.MemberAssignment = assignment(m.load.topic, int32(n))
			}
			sync.GroupAssignment = append(sync.GroupAssignment, assigned)
		}
	}
	response, err = m.ask(sync, m.load.rebalance+m.load.requestTimeout)
	if err != nil {
		return err
	}
	synced := response.(*kmsg.SyncGroupResponse)
	if synced.ErrorCode != 0 {
		return protocolError(synced.ErrorCode)
	}
	partition, err := assigned(synced.MemberAssignment)
	if err != nil {
		return err
	}
	m.partitions, m.fetched = m.ours(partition), false
	m.generation = joined.Generation
	return nil
}

func assignment(topic string, partition int32) []byte {
	a := kmsg.NewConsumerMemberAssignment()
	t := kmsg.NewConsumerMemberAssignmentTopic()
	t.Topic, t.Partitions = topic, []int32{partition}
	a.Topics = append(a.Topics, t)
	return a.AppendTo(nil)
}

func assigned(data []byte) ([]int32, error) {
	if len(data) == 0 {
		return nil, nil
	}
	var a kmsg.ConsumerMemberAssignment
	if err := a.ReadFrom(data); err != nil {
		return nil, fmt.Errorf("assignment: %w", err)
	}
	var partitions []int32
	for _, t := range a.Topics {
		partitions = append(partitions, t.Partitions...)
	}
	return partitions, nil
}

// ours leaves out partitions that a topic has beyond one for each member.
func (m *member) ours(partitions []int32) []int32 {
	return slices.DeleteFunc(partitions, func(p int32) bool { return int(p) >= len(m.group.offsets) })
}

func (m *member) heartbeat() error {
	request := kmsg.NewPtrHeartbeatRequest()
	request.SetVersion(4)
	request.Group, request.Generation, request.MemberID = m.group.name, m.generation, m.id
	response, err := m.ask(request, m.load.requestTimeout)
	if err != nil {
		return err
	}
	if code := response.(*kmsg.HeartbeatResponse).ErrorCode; code != 0 {
		return protocolError(code)
	}
	return nil
}

// commit commits the next offset of each partition.
func (m *member) commit() error {
	if len(m.partitions) == 0 {
		return nil
	}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.SetVersion(offsetCommitVersion)
	if m.load.protocol == "consumer" {
		request.SetVersion(9)
	}
	request.Group, request.Generation, request.MemberID = m.group.name, m.generation, m.id
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = m.load.topic
	sent := map[int32]int64{}
	for _, p := range m.partitions {
		partition := kmsg.NewOffsetCommitRequestTopicPartition()
		partition.Partition, partition.Offset = p, m.group.offsets[p].next()
		sent[p] = partition.Offset
		topic.Partitions = append(topic.Partitions, partition)
	}
	request.Topics = append(request.Topics, topic)
	response, err := m.ask(request, m.load.requestTimeout)
	if err != nil {
		return err
	}
	for _, t := range response.(*kmsg.OffsetCommitResponse).Topics {
		for _, p := range t.Partitions {
			if p.ErrorCode != 0 {
				return protocolError(p.ErrorCode)
			}
			m.group.offsets[p.Partition].acknowledge(sent[p.Partition])
		}
	}
	m.load.commits.Add(1)
	m.committed.Store(time.Now().UnixNano())
	return nil
}

// liveByEpochs is live in the protocol of KIP-848: one request joins, beats, and takes assignments up.
func (m *member) liveByEpochs(first *begun) error {
	if m.id == "" {
		var id [16]byte
		binary.BigEndian.PutUint64(id[:8], rand.Uint64())
		binary.BigEndian.PutUint64(id[8:], rand.Uint64())
		m.id = fmt.Sprintf("%x", id)
	}
	if m.generation <= 0 {
		m.generation, m.partitions, m.told = 0, nil, false
		if err := m.heartbeatOfEpoch(); err != nil {
			return err
		}
		m.load.joins.Add(1)
	}
	first.now()
	// What was assigned is taken up at once, and the broker told so.
	for !m.told {
		if err := m.heartbeatOfEpoch(); err != nil {
			return err
		}
	}
	return m.beat(m.interval, func() error {
		if err := m.heartbeatOfEpoch(); err != nil {
			return err
		}
		if !m.told {
			return protocolError(rebalanceInProgress)
		}
		return nil
	})
}

func (m *member) heartbeatOfEpoch() error {
	request := kmsg.NewPtrConsumerGroupHeartbeatRequest()
	request.SetVersion(1)
	request.Group, request.MemberID, request.MemberEpoch = m.group.name, m.id, m.generation
	joins := m.generation == 0
	if joins {
		request.SubscribedTopicNames = []string{m.load.topic}
		request.RebalanceTimeoutMillis = int32(m.load.rebalance.Milliseconds())
	}
	tells := joins || !m.told
	if tells {
		request.Topics = []kmsg.ConsumerGroupHeartbeatRequestTopic{}
		if len(m.partitions) > 0 {
			topic := kmsg.NewConsumerGroupHeartbeatRequestTopic()
			topic.TopicID, topic.Partitions = m.load.topicID, m.partitions
			request.Topics = append(request.Topics, topic)
		}
	}
	response, err := m.ask(request, m.load.requestTimeout)
	if err != nil {
		return err
	}
	answer := response.(*kmsg.ConsumerGroupHeartbeatResponse)
	if answer.ErrorCode != 0 {
		return protocolError(answer.ErrorCode)
	}
	m.generation = answer.MemberEpoch
	m.interval = time.Duration(answer.HeartbeatIntervalMillis) * time.Millisecond
	m.told = true
	if answer.Assignment != nil {
		var partitions []int32
		for _, t := range answer.Assignment.Topics {
			partitions = append(partitions, t.Partitions...)
		}
		m.partitions, m.fetched, m.told = m.ours(partitions), false, false
	}
	return nil
}

// cause is an error without what differs from one connection to the next.
func cause(err error) string {
	var system syscall.Errno
	var network net.Error
	switch {
	case errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF):
		return "closed"
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "timed out"
	case errors.As(err, &system):
		return system.Error()
	case errors.As(err, &network) && network.Timeout():
		return "timed out"
	}
	return string(bytes.TrimSpace([]byte(err.Error())))
}
