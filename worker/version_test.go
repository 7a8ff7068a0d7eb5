package worker

import (
	"testing"

	"github.com/stretchr/testify/require"
	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"multiattempt/config"
)

func TestAWorkerBelongsToAVersionOnlyIfItSaysSo(t *testing.T) {
	require.Zero(t, versioned(config.Worker{Versioning: config.VersioningPinned}))
	w := config.Worker{Deployment: "d", BuildID: "b", Versioning: config.VersioningPinned}
	require.Equal(t, sdkworker.DeploymentOptions{
		UseVersioning: true, Version: sdkworker.WorkerDeploymentVersion{DeploymentName: "d", BuildID: "b"},
		DefaultVersioningBehavior: workflow.VersioningBehaviorPinned,
	}, versioned(w))
	w.Versioning = config.VersioningAutoUpgrade
	require.Equal(t, workflow.VersioningBehaviorAutoUpgrade, versioned(w).DefaultVersioningBehavior)
}
