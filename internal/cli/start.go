package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"

	"multiattempt/internal/source"
	"multiattempt/internal/spec"
	"multiattempt/worker"
)

// memoDigest is where a started workflow remembers the digest of the settings it was started with.
const memoDigest = "settings_sha256"

// order is a workflow to start.
type order struct {
	id       string
	kind     string // workflow type
	input    any
	digest   string // of the resolved settings
	summary  string
	again    bool   // a closed workflow of that id may be followed by another execution, which goes on from its checkpoints
	conflict string // what to do when that id has other settings
	ended    string // what else may be done then, when it has ended
	retry    bool   // the same, but only for one that failed, was cancelled or terminated
}

// started is a workflow that was started now, or found.
type started struct {
	run    client.WorkflowRun
	found  bool // it existed before
	closed bool // and had ended
}

// start starts the workflow, or finds the one that has its id: running, or completed and not to be continued.
// A found one with other settings is refused.
func (s *services) start(ctx context.Context, o order) (started, error) {
	reuse := enumspb.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
	switch {
	case o.again:
		reuse = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE
	case o.retry:
		reuse = enumspb.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE_FAILED_ONLY
	}
	run, err := s.temporal.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: o.id, TaskQueue: s.cfg.Temporal.Queue,
		WorkflowIDReusePolicy:                    reuse,
		WorkflowIDConflictPolicy:                 enumspb.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		StaticSummary:                            o.summary,
		StaticDetails:                            s.details(o.id),
		Memo:                                     map[string]any{memoDigest: o.digest},
	}, o.kind, o.input)
	var exists *serviceerror.WorkflowExecutionAlreadyStarted
	if !errors.As(err, &exists) {
		return started{run: run}, err
	}
	d, err := s.temporal.DescribeWorkflow(ctx, o.id, "")
	if err != nil {
		return started{}, err
	}
	var digest string
	if payload, ok := d.Memo.GetFields()[memoDigest]; ok {
		payloads, err := worker.DataConverter(s.cfg.Temporal.Codec)
		if err != nil {
			return started{}, err
		}
		if err := payloads.FromPayload(payload, &digest); err != nil {
			return started{}, fmt.Errorf("workflow %s: memo: %w", o.id, err)
		}
	}
	closed := d.Status != enumspb.WORKFLOW_EXECUTION_STATUS_RUNNING
	if digest != o.digest {
		hint := o.conflict
		if closed {
			hint += o.ended
		}
		return started{}, usage("%s exists with other settings; %s", o.id, hint)
	}
	return started{run: s.temporal.GetWorkflow(ctx, o.id, ""), found: true, closed: closed}, nil
}

// details link from the Temporal UI to the run's page.
func (s *services) details(id string) string {
	if s.web == "" {
		return ""
	}
	return fmt.Sprintf("[Figures, dialogues and settings of this run](%s/runs/%s)", s.web, id)
}

// upload puts the model folder that doc's model.source names into the store and returns doc with its reference, so that
// any worker finds it; sources that are no folders here stay as they are.
func (a *app) upload(ctx context.Context, s *services, doc []byte, target any, folder string) ([]byte, error) {
	if folder == "" {
		return doc, nil
	}
	m, err := source.Folder(folder)
	if err != nil {
		return nil, err
	}
	a.notef("Uploading the model in %s\n", folder)
	ref, err := m.Store(ctx, s.store, nil)
	if err != nil {
		return nil, err
	}
	return spec.Override(doc, target, []string{fmt.Sprintf("model.source=ref:%s@%s:%d", ref.Key, ref.SHA256, ref.Size)})
}

// input is a workflow's argument as the workflow reads it: the settings' JSON itself.
func input(doc []byte) json.RawMessage { return json.RawMessage(doc) }
