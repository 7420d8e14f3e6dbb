package main

import (
	"context"
	"strconv"

	"github.com/twmb/franz-go/pkg/kadm"
)

// runCluster runs the operations that only make sense with several brokers; false for one that is not among them.
func runCluster(ctx context.Context, adm *kadm.Client, operation string, a arguments) (any, bool, error) {
	var result any
	var err error
	switch operation {
	case "find_coordinator":
		result, err = findCoordinator(ctx, adm, a)
	case "elect_leaders":
		result, err = electLeaders(ctx, adm, a)
	case "list_reassignments":
		result, err = listReassignments(ctx, adm, a)
	case "alter_assignment":
		result, err = alterAssignment(ctx, adm, a)
	case "describe_broker_configs":
		result, err = describeBrokerConfigs(ctx, adm, a)
	case "alter_broker_configs":
		result, err = alterBrokerConfigs(ctx, adm, a)
	default:
		return nil, false, nil
	}
	return result, true, err
}

func findCoordinator(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	r := adm.FindGroupCoordinators(ctx, a.Group)[a.Group]
	return map[string]any{"id": r.NodeID, "host": r.Host, "port": r.Port}, r.Err
}

// outcome is one partition's or resource's error as text, null without one.
func outcome(err error) any {
	if err == nil {
		return nil
	}
	return err.Error()
}

func partitionsOf(a arguments) (kadm.TopicsSet, error) {
	s := kadm.TopicsSet{}
	for p := range a.Assignment {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, err
		}
		s.Add(a.Topic, int32(n))
	}
	return s, nil
}

func electLeaders(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	s, err := partitionsOf(a)
	if err != nil {
		return nil, err
	}
	r, err := adm.ElectLeaders(ctx, kadm.ElectPreferredReplica, s)
	if err != nil {
		return nil, err
	}
	outcomes := map[int32]any{}
	for _, p := range r[a.Topic] {
		outcomes[p.Partition] = outcome(p.Err)
	}
	return outcomes, nil
}

func listReassignments(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	s, err := partitionsOf(a)
	if err != nil {
		return nil, err
	}
	r, err := adm.ListPartitionReassignments(ctx, s)
	if err != nil {
		return nil, err
	}
	found := map[int32]any{}
	for _, p := range r[a.Topic] {
		found[p.Partition] = map[string]any{
			"replicas": p.Replicas, "adding": p.AddingReplicas, "removing": p.RemovingReplicas}
	}
	return found, nil
}

func alterAssignment(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	var req kadm.AlterPartitionAssignmentsReq
	for p, replicas := range a.Assignment {
		n, err := strconv.Atoi(p)
		if err != nil {
			return nil, err
		}
		if replicas == nil {
			req.CancelAssign(a.Topic, int32(n))
		} else {
			req.Assign(a.Topic, int32(n), replicas)
		}
	}
	r, err := adm.AlterPartitionAssignments(ctx, req)
	if err != nil {
		return nil, err
	}
	outcomes := map[int32]any{}
	for _, p := range r[a.Topic] {
		outcomes[p.Partition] = outcome(p.Err)
	}
	return outcomes, nil
}

// describeBrokerConfigs leaves out what was set in the broker's file and what has its default.
func describeBrokerConfigs(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	r, err := adm.DescribeBrokerConfigs(ctx, a.Brokers...)
	if err != nil {
		return nil, err
	}
	dynamic := map[string]map[string]any{}
	for _, resource := range r {
		if resource.Err != nil {
			return nil, resource.Err
		}
		dynamic[resource.Name] = map[string]any{}
		for _, c := range resource.Configs {
			switch source := c.Source.String(); source {
			case "DYNAMIC_BROKER_CONFIG", "DYNAMIC_DEFAULT_BROKER_CONFIG":
				dynamic[resource.Name][c.Key] = []any{c.Value, source}
			}
		}
	}
	return dynamic, nil
}

func alterBrokerConfigs(ctx context.Context, adm *kadm.Client, a arguments) (any, error) {
	var alter []kadm.AlterConfig
	for k, v := range a.Configs {
		op := kadm.SetConfig
		if v == nil {
			op = kadm.DeleteConfig
		}
		alter = append(alter, kadm.AlterConfig{Op: op, Name: k, Value: v})
	}
	r, err := adm.AlterBrokerConfigs(ctx, alter, a.Brokers...)
	if err != nil {
		return nil, err
	}
	outcomes := map[string]any{}
	for _, resource := range r {
		outcomes[resource.Name] = outcome(resource.Err)
	}
	return outcomes, nil
}
