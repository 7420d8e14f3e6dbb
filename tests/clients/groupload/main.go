// groupload keeps many members of many consumer groups alive, cheaply: a connection and a goroutine for each, and none of
// a client library's other work. They join, sync, send heartbeats, commit growing offsets, and find their coordinator again
// when it is lost, as real members do. Records are neither read nor written.
//
//	groupload -brokers B -topic T -groups N -members M [-protocol classic|consumer] [flags]
//
// The topic has at least M partitions; each member gets one. Commands come on stdin, one a line, and each is answered by one
// line of JSON on stdout:
//
//	mark     counts begin anew
//	status   counts since the mark; how many groups have gone on: every member has committed (or, without commits, has had a
//	         heartbeat answered) since then
//	check    fetches every group's offsets, and tells what is wrong with them
//	stop     ends, without leaving the groups
//
// A committed offset is wrong when it is lower than one that was acknowledged before it was asked for, or higher than any
// that was sent; members look at theirs too whenever they get a partition.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

type options struct {
	brokers        []string
	topic          string
	prefix         string
	groups         int
	members        int
	protocol       string
	heartbeat      time.Duration
	session        time.Duration
	rebalance      time.Duration
	commit         time.Duration
	requestTimeout time.Duration
	joining        int
}

func main() {
	var o options
	var brokers string
	flag.StringVar(&brokers, "brokers", "", "bootstrap addresses, separated by commas")
	flag.StringVar(&o.topic, "topic", "", "topic whose partitions are shared out")
	flag.StringVar(&o.prefix, "prefix", "load", "what group names begin with")
	flag.IntVar(&o.groups, "groups", 1, "groups")
	flag.IntVar(&o.members, "members", 1, "members of each group")
	flag.StringVar(&o.protocol, "protocol", "classic", "classic, or consumer (KIP-848)")
	flag.DurationVar(&o.heartbeat, "heartbeat", 3*time.Second, "between heartbeats (consumer: what the broker says)")
	flag.DurationVar(&o.session, "session", 45*time.Second, "session timeout of members")
	flag.DurationVar(&o.rebalance, "rebalance", 60*time.Second, "rebalance timeout of members")
	flag.DurationVar(&o.commit, "commit", time.Second, "between commits of a member; 0 for none")
	flag.DurationVar(&o.requestTimeout, "request-timeout", 5*time.Second, "a request that takes longer is given up")
	flag.IntVar(&o.joining, "joining", 200, "members that begin to join at the same time")
	flag.Parse()
	if brokers == "" || o.topic == "" || o.protocol != "classic" && o.protocol != "consumer" {
		flag.Usage()
		os.Exit(2)
	}
	o.brokers = strings.Split(brokers, ",")
	l := newLoad(o)
	go l.run()
	out := json.NewEncoder(os.Stdout)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var answer any
		switch command := strings.TrimSpace(lines.Text()); command {
		case "mark":
			l.mark()
			answer = map[string]any{"marked": true}
		case "status":
			answer = l.status()
		case "check":
			answer = l.check()
		case "stop":
			return
		default:
			answer = map[string]any{"error": fmt.Sprintf("unknown command %q", command)}
		}
		if err := out.Encode(answer); err != nil {
			return
		}
	}
}
