package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
)

// arguments of every admin operation; each uses the few that it needs.
type arguments struct {
	Topic       string             `json:"topic"`
	Group       string             `json:"group"`
	Groups      []string           `json:"groups"`
	Kind        string             `json:"kind"` // of a group: classic or consumer
	Instances   []string           `json:"instances"`
	Types       []string           `json:"types"`  // of groups to list
	States      []string           `json:"states"` // of groups to list
	Partitions  int                `json:"partitions"`
	Replication int16              `json:"replication"`
	Configs     map[string]*string `json:"configs"` // for alter: null deletes
	Offsets     map[string]int64   `json:"offsets"` // partition -> offset
	TimestampMs int64              `json:"timestamp_ms"`
	Brokers     []int32            `json:"brokers"`    // none: the cluster's default
	Assignment  map[string][]int32 `json:"assignment"` // partition -> replicas; null ends a reassignment
}

// admin runs one kadm operation. A protocol error is an answer, not a failure: {"error":"TOPIC_ALREADY_EXISTS"}.
func admin(f flags, operation string) error {
	cl, err := client(f)
	if err != nil {
		return err
	}
	defer cl.Close()
	var a arguments
	if err := json.NewDecoder(os.Stdin).Decode(&a); err != nil {
		return fmt.Errorf("arguments: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), f.timeout)
	defer cancel()
	result, err := run(ctx, kadm.NewClient(cl), operation, a)
	answer := map[string]any{"result": result}
	var protocol *kerr.Error
	if errors.As(err, &protocol) {
		answer = map[string]any{"error": protocol.Message}
	} else if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer)
}

func run(ctx context.Context, adm *kadm.Client, operation string, a arguments) (any, error) {
	switch operation {
	case "create_topic":
		r, err := adm.CreateTopic(ctx, int32(a.Partitions), a.Replication, a.Configs, a.Topic)
		if err != nil {
			return nil, err
		}
		return map[string]any{"partitions": r.NumPartitions}, r.Err
	case "delete_topic":
		r, err := adm.DeleteTopic(ctx, a.Topic)
		if err != nil {
			return nil, err
		}
		return nil, r.Err
	case "list_topics":
		topics, err := adm.ListTopics(ctx)
		return topics.Names(), err
	case "describe_topic":
		topics, err := adm.ListTopics(ctx, a.Topic)
		if err != nil {
			return nil, err
		}
		if err := topics[a.Topic].Err; err != nil {
			return nil, err
		}
		var partitions []map[string]any
		for _, p := range topics[a.Topic].Partitions.Sorted() {
			partitions = append(partitions, map[string]any{
				"partition": p.Partition, "leader": p.Leader, "replicas": p.Replicas, "isr": p.ISR})
		}
		return partitions, nil
	case "create_partitions":
		r, err := adm.UpdatePartitions(ctx, a.Partitions, a.Topic)
		if err != nil {
			return nil, err
		}
		return nil, r[a.Topic].Err
	case "describe_configs":
		r, err := adm.DescribeTopicConfigs(ctx, a.Topic)
		if err != nil {
			return nil, err
		}
		rc, err := r.On(a.Topic, nil)
		if err != nil {
			return nil, err
		}
		configs := map[string]any{}
		for _, c := range rc.Configs {
			configs[c.Key] = []any{c.Value, c.Source.String()}
		}
		return configs, rc.Err
	case "alter_configs":
		var alter []kadm.AlterConfig
		for k, v := range a.Configs {
			op := kadm.SetConfig
			if v == nil {
				op = kadm.DeleteConfig
			}
			alter = append(alter, kadm.AlterConfig{Op: op, Name: k, Value: v})
		}
		r, err := adm.AlterTopicConfigs(ctx, alter, a.Topic)
		if err != nil {
			return nil, err
		}
		one, err := r.On(a.Topic, nil)
		if err != nil {
			return nil, err
		}
		return nil, one.Err
	case "delete_records":
		os := kadm.Offsets{}
		for p, o := range a.Offsets {
			n, err := strconv.Atoi(p)
			if err != nil {
				return nil, err
			}
			os.Add(kadm.Offset{Topic: a.Topic, Partition: int32(n), At: o, LeaderEpoch: -1})
		}
		r, err := adm.DeleteRecords(ctx, os)
		if err != nil {
			return nil, err
		}
		low := map[int32]int64{}
		for _, p := range r.Sorted() {
			if p.Err != nil {
				return nil, p.Err
			}
			low[p.Partition] = p.LowWatermark
		}
		return low, nil
	case "describe_cluster":
		m, err := adm.BrokerMetadata(ctx)
		if err != nil {
			return nil, err
		}
		var brokers []map[string]any
		for _, b := range m.Brokers {
			brokers = append(brokers, map[string]any{"id": b.NodeID, "host": b.Host, "port": b.Port, "rack": b.Rack})
		}
		return map[string]any{"controller": m.Controller, "cluster_id": m.Cluster, "brokers": brokers}, nil
	case "describe_log_dirs":
		r, err := adm.DescribeAllLogDirs(ctx, nil)
		if err != nil {
			return nil, err
		}
		sizes := map[int32]int64{}
		r.Each(func(d kadm.DescribedLogDir) {
			for partition, found := range d.Topics[a.Topic] {
				sizes[partition] += found.Size
			}
		})
		return sizes, nil
	case "list_groups":
		r, err := adm.ListGroups(ctx)
		return r.Groups(), err
	case "describe_group":
		r, err := adm.DescribeGroups(ctx, a.Group)
		if err != nil {
			return nil, err
		}
		g, err := r.On(a.Group, nil)
		if err != nil {
			return nil, err
		}
		return map[string]any{"state": g.State, "members": len(g.Members), "protocol_type": g.ProtocolType}, g.Err
	case "delete_group":
		r, err := adm.DeleteGroup(ctx, a.Group)
		if err != nil {
			return nil, err
		}
		return nil, r.Err
	case "delete_offsets":
		s := kadm.TopicsSet{}
		for p := range a.Offsets {
			n, err := strconv.Atoi(p)
			if err != nil {
				return nil, err
			}
			s.Add(a.Topic, int32(n))
		}
		r, err := adm.DeleteOffsets(ctx, a.Group, s)
		if err != nil {
			return nil, err
		}
		return nil, r.Error()
	case "commit_offsets":
		os := kadm.Offsets{}
		for p, o := range a.Offsets {
			n, err := strconv.Atoi(p)
			if err != nil {
				return nil, err
			}
			os.Add(kadm.Offset{Topic: a.Topic, Partition: int32(n), At: o, LeaderEpoch: -1})
		}
		return nil, adm.CommitAllOffsets(ctx, a.Group, os)
	case "fetch_offsets":
		r, err := adm.FetchOffsets(ctx, a.Group)
		if err != nil {
			return nil, err
		}
		committed := map[int32]int64{}
		r.Each(func(o kadm.OffsetResponse) {
			if o.Topic == a.Topic && o.At >= 0 {
				committed[o.Partition] = o.At
			}
		})
		return committed, r.Error()
	case "list_offsets":
		kinds := map[string]func() (kadm.ListedOffsets, error){
			"earliest":      func() (kadm.ListedOffsets, error) { return adm.ListStartOffsets(ctx, a.Topic) },
			"latest":        func() (kadm.ListedOffsets, error) { return adm.ListEndOffsets(ctx, a.Topic) },
			"max_timestamp": func() (kadm.ListedOffsets, error) { return adm.ListMaxTimestampOffsets(ctx, a.Topic) },
			"by_timestamp": func() (kadm.ListedOffsets, error) {
				return adm.ListOffsetsAfterMilli(ctx, a.TimestampMs, a.Topic)
			},
		}
		answer := map[string]map[int32][2]int64{}
		for kind, list := range kinds {
			listed, err := list()
			if err != nil {
				return nil, err
			}
			if err := listed.Error(); err != nil {
				return nil, err
			}
			answer[kind] = map[int32][2]int64{}
			listed.Each(func(o kadm.ListedOffset) { answer[kind][o.Partition] = [2]int64{o.Offset, o.Timestamp} })
		}
		return answer, nil
	}
	if result, known, err := runCluster(ctx, adm, operation, a); known {
		return result, err
	}
	if result, known, err := runGroups(ctx, adm, operation, a); known {
		return result, err
	}
	known := []string{"create_topic", "delete_topic", "list_topics", "describe_topic", "create_partitions",
		"describe_configs", "alter_configs", "delete_records", "describe_cluster", "describe_log_dirs", "list_groups",
		"describe_group", "delete_group", "delete_offsets", "commit_offsets", "fetch_offsets", "list_offsets", "find_coordinator",
		"elect_leaders", "list_reassignments", "alter_assignment", "describe_broker_configs", "alter_broker_configs",
		"describe_shares", "list_groups_by_type", "describe_groups", "delete_groups", "fetch_offsets_of_groups", "remove_members"}
	sort.Strings(known)
	return nil, fmt.Errorf("unknown operation %q, known are %v", operation, known)
}
