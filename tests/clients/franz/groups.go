package main

import (
	"context"
	"sort"

	"github.com/twmb/franz-go/pkg/kadm"
)

// runGroups runs the operations on groups of either protocol, and on many at once; false for one that is not among them.
func runGroups(ctx context.Context, adm *kadm.Client, operation string, a arguments) (any, bool, error) {
	var result any
	var err error
	switch operation {
	case "describe_shares":
		result, err = describeShares(ctx, adm, a)
	case "list_groups_by_type":
		result, err = listGroupsByType(ctx, adm, a)
	case "describe_groups":
		result, err = describeGroups(ctx, adm, a)
	case "delete_groups":
		result, err = deleteGroups(ctx, adm, a)
	case "fetch_offsets_of_groups":
		result, err = fetchOffsetsOfGroups(ctx, adm, a)
	case "remove_members":
		result, err = removeMembers(ctx, adm, a)
	default:
		return nil, false, nil
	}
	return result, true, err
}

// describeShares tells a group's state and how many partitions each member has.
func describeShares(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	sizes := []int{}
	count := func(s kadm.TopicsSet) {
		n := 0
		s.EachPartitions(func(_ string, partitions []int32) { n += len(partitions) })
		sizes = append(sizes, n)
	}
	if a.Kind == "consumer" {
		r, err := adm.DescribeConsumerGroups(ctx, a.Group)
		if err != nil {
			return nil, err
		}
		g := r[a.Group]
		for _, m := range g.Members {
			count(m.Assignment)
		}
		return map[string]any{"state": g.State, "sizes": sizes}, g.Err
	}
	r, err := adm.DescribeGroups(ctx, a.Group)
	if err != nil {
		return nil, err
	}
	g, err := r.On(a.Group, nil)
	if err != nil {
		return nil, err
	}
	for _, m := range g.Members {
		s := kadm.TopicsSet{}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			for _, t := range assigned.Topics {
				s.Add(t.Topic, t.Partitions...)
			}
		}
		count(s)
	}
	return map[string]any{"state": g.State, "sizes": sizes}, g.Err
}

// listGroupsByType tells each group's state and protocol; types and states none: all.
func listGroupsByType(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	r, err := adm.ListGroupsByType(ctx, a.Types, a.States...)
	found := map[string]any{}
	for name, g := range r {
		found[name] = []any{g.State, g.ProtocolType}
	}
	return found, err
}

// describeGroups tells of many classic groups: state, protocol, clients of the members.
func describeGroups(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	r, err := adm.DescribeGroups(ctx, a.Groups...)
	found := map[string]any{}
	for name, g := range r {
		clients := []string{}
		for _, m := range g.Members {
			clients = append(clients, m.ClientID)
		}
		sort.Strings(clients)
		found[name] = []any{g.State, g.ProtocolType, g.Protocol, clients, outcome(g.Err)}
	}
	return found, err
}

// deleteGroups deletes many and tells what became of each.
func deleteGroups(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	r, err := adm.DeleteGroups(ctx, a.Groups...)
	found := map[string]any{}
	for name, g := range r {
		found[name] = outcome(g.Err)
	}
	return found, err
}

// fetchOffsetsOfGroups fetches what is committed of many groups in one question: group -> topic -> partition -> offset.
func fetchOffsetsOfGroups(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	found := map[string]any{}
	for name, g := range adm.FetchManyOffsets(ctx, a.Groups...) {
		if g.Err != nil {
			found[name] = outcome(g.Err)
			continue
		}
		offsets := map[string]map[int32]int64{}
		g.Fetched.Each(func(o kadm.OffsetResponse) {
			if offsets[o.Topic] == nil {
				offsets[o.Topic] = map[int32]int64{}
			}
			offsets[o.Topic][o.Partition] = o.At
		})
		found[name] = offsets
	}
	return found, nil
}

// removeMembers has static members leave and tells what became of each.
func removeMembers(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	r, err := adm.LeaveGroup(ctx, kadm.LeaveGroup(a.Group).InstanceIDs(a.Instances...))
	if err != nil {
		return nil, err
	}
	found := map[string]any{}
	for instance, left := range r {
		found[instance] = outcome(left.Err)
	}
	return found, nil
}
