package main

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// finder asks any broker who coordinates a group, over few connections that all members share.
type finder struct {
	brokers []string
	timeout time.Duration
	idle    chan *asker
}

// asker goes from broker to broker when one does not answer.
type asker struct {
	next int
	conn *connection
}

const askers = 8

func newFinder(brokers []string, timeout time.Duration) *finder {
	f := &finder{brokers: brokers, timeout: timeout, idle: make(chan *asker, askers)}
	for n := range askers {
		f.idle <- &asker{next: n}
	}
	return f
}

// ask sends a request to any broker that answers.
func (f *finder) ask(request kmsg.Request) (kmsg.Response, error) {
	a := <-f.idle
	defer func() { f.idle <- a }()
	var err error
	for range f.brokers {
		if a.conn == nil {
			a.conn, err = connect(f.brokers[a.next%len(f.brokers)], "groupload-finder", f.timeout)
		}
		if err == nil {
			var response kmsg.Response
			if response, err = a.conn.ask(request, f.timeout); err == nil {
				return response, nil
			}
		}
		a.conn.close()
		a.conn = nil
		a.next++
	}
	return nil, err
}

func (f *finder) coordinator(group string) (string, error) {
	request := kmsg.NewPtrFindCoordinatorRequest()
	request.SetVersion(3)
	request.CoordinatorKey = group
	response, err := f.ask(request)
	if err != nil {
		return "", err
	}
	found := response.(*kmsg.FindCoordinatorResponse)
	if found.ErrorCode != 0 {
		return "", protocolError(found.ErrorCode)
	}
	return found.Host + ":" + strconv.Itoa(int(found.Port)), nil
}

func (f *finder) topicID(topic string) ([16]byte, error) {
	request := kmsg.NewPtrMetadataRequest()
	request.SetVersion(12)
	asked := kmsg.NewMetadataRequestTopic()
	asked.Topic = &topic
	request.Topics = append(request.Topics, asked)
	response, err := f.ask(request)
	if err != nil {
		return [16]byte{}, err
	}
	topics := response.(*kmsg.MetadataResponse).Topics
	if len(topics) != 1 || topics[0].ErrorCode != 0 {
		return [16]byte{}, fmt.Errorf("no metadata of topic %s", topic)
	}
	return topics[0].TopicID, nil
}

// place is where a group's coordinator is, for all its members.
type place struct {
	mutex   sync.Mutex
	address string
	version int // rises with every look
}

// get looks for the coordinator again if the one known is that of version `lost`.
func (p *place) get(f *finder, group string, lost int) (string, int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.address != "" && p.version != lost {
		return p.address, p.version, nil
	}
	address, err := f.coordinator(group)
	if err != nil {
		return "", lost, err
	}
	p.address = address
	p.version++
	return p.address, p.version, nil
}

type protocolError int16

func (e protocolError) Error() string { return "error code " + strconv.Itoa(int(e)) }
