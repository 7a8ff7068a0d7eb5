package stack

import (
	"context"
	"errors"
	"fmt"

	enumspb "go.temporal.io/api/enums/v1"
	namespacepb "go.temporal.io/api/namespace/v1"
	"go.temporal.io/api/operatorservice/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/api/workflowservice/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"multiattempt/internal/telemetry"
)

// prepareNamespace waits for the frontend and makes namespace, its retention and its search attributes what they are to
// be. It changes nothing that is right already.
func prepareNamespace(ctx context.Context, frontend, namespace string) error {
	c, err := client.NewLazyClient(client.Options{HostPort: frontend, Namespace: namespace, Logger: silent{}})
	if err != nil {
		return err
	}
	defer c.Close()
	return eventually(ctx, "Temporal server", nil, func(ctx context.Context) error {
		if err := ensureNamespace(ctx, c, namespace); err != nil {
			return err
		}
		return ensureSearchAttributes(ctx, c, namespace) // a moment passes until a new namespace is known everywhere
	})
}

func ensureNamespace(ctx context.Context, c client.Client, namespace string) error {
	service, keep := c.WorkflowService(), durationpb.New(retention)
	found, err := service.DescribeNamespace(ctx, &workflowservice.DescribeNamespaceRequest{Namespace: namespace})
	if _, missing := errors.AsType[*serviceerror.NamespaceNotFound](err); missing {
		_, err = service.RegisterNamespace(ctx, &workflowservice.RegisterNamespaceRequest{
			Namespace: namespace, WorkflowExecutionRetentionPeriod: keep,
		})
		return err
	}
	if err != nil || found.GetConfig().GetWorkflowExecutionRetentionTtl().AsDuration() == retention {
		return err
	}
	_, err = service.UpdateNamespace(ctx, &workflowservice.UpdateNamespaceRequest{
		Namespace: namespace, Config: &namespacepb.NamespaceConfig{WorkflowExecutionRetentionTtl: keep},
	})
	return err
}

func ensureSearchAttributes(ctx context.Context, c client.Client, namespace string) error {
	have, err := c.OperatorService().ListSearchAttributes(ctx, &operatorservice.ListSearchAttributesRequest{Namespace: namespace})
	if err != nil {
		return fmt.Errorf("search attributes: %w", err)
	}
	missing := map[string]enumspb.IndexedValueType{}
	for _, attribute := range telemetry.SearchAttributes() {
		if _, ok := have.GetCustomAttributes()[attribute.GetName()]; !ok {
			missing[attribute.GetName()] = attribute.GetValueType()
		}
	}
	if len(missing) == 0 {
		return nil
	}
	_, err = c.OperatorService().AddSearchAttributes(ctx, &operatorservice.AddSearchAttributesRequest{
		Namespace: namespace, SearchAttributes: missing,
	})
	if err != nil {
		return fmt.Errorf("search attributes: %w", err)
	}
	return nil
}
