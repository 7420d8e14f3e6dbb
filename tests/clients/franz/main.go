// franz is the franz-go client of the compatibility suite: one command per run, JSON in and out, driven by the Python
// harness. It holds no checks of its own.
//
//	franz produce  -brokers B -topic T [-compression C] [-acks all|leader] [-idempotent=true] [-batch-bytes N]
//	               records on stdin
//	franz load     -brokers B -topic T                sends records of stdin as they come, and tells of each, until it ends
//	franz consume  -brokers B -topic T -count N [-timeout 60s]   fewer when the time is up
//	franz group    -brokers B -topic T -group G       until stdin is closed, then leaves the group
//	franz share                                       a member that is driven and tells all, see share.go
//	franz admin    -brokers B OPERATION               arguments as JSON on stdin, one JSON object out
//
// A record is one line {"p":0,"k":base64,"v":base64,"h":[["name",base64]],"t":ms,"o":offset}; null means null.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

type flags struct {
	brokers     string
	topic       string
	group       string
	compression string
	acks        string
	idempotent  bool
	batchBytes  int
	count       int
	timeout     time.Duration
}

func main() {
	if len(os.Args) < 2 {
		fail(fmt.Errorf("usage: franz produce|load|consume|group|share|admin [flags]"))
	}
	command := os.Args[1]
	var f flags
	set := flag.NewFlagSet(command, flag.ExitOnError)
	set.StringVar(&f.brokers, "brokers", "", "bootstrap addresses, separated by commas")
	set.StringVar(&f.topic, "topic", "", "topic")
	set.StringVar(&f.group, "group", "", "consumer group")
	set.StringVar(&f.compression, "compression", "none", "none, gzip, snappy, lz4 or zstd")
	set.StringVar(&f.acks, "acks", "all", "all or leader")
	set.BoolVar(&f.idempotent, "idempotent", true, "idempotent producer")
	set.IntVar(&f.batchBytes, "batch-bytes", 1<<20, "largest batch to send")
	set.IntVar(&f.count, "count", 0, "records to read")
	set.DurationVar(&f.timeout, "timeout", 60*time.Second, "give up after this long")
	if err := set.Parse(os.Args[2:]); err != nil {
		fail(err)
	}
	var err error
	switch command {
	case "produce":
		err = produce(f)
	case "load":
		err = load(f)
	case "consume":
		err = consume(f)
	case "group":
		err = group(f)
	case "share":
		err = share()
	case "admin":
		err = admin(f, set.Arg(0))
	default:
		err = fmt.Errorf("unknown command %q", command)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "franz:", err)
	os.Exit(1)
}
