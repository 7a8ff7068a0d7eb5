package worker

import (
	"fmt"
	"log/slog"

	sdkworker "go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"multiattempt/config"
	"multiattempt/internal/telemetry"
)

// versioned are the SDK's options of a process that belongs to a version of a Worker Deployment; nothing without one.
func versioned(w config.Worker) sdkworker.DeploymentOptions {
	if w.Deployment == "" {
		return sdkworker.DeploymentOptions{}
	}
	behaviour := workflow.VersioningBehaviorPinned
	if w.Versioning == config.VersioningAutoUpgrade {
		behaviour = workflow.VersioningBehaviorAutoUpgrade
	}
	return sdkworker.DeploymentOptions{
		UseVersioning:             true,
		Version:                   sdkworker.WorkerDeploymentVersion{DeploymentName: w.Deployment, BuildID: w.BuildID},
		DefaultVersioningBehavior: behaviour,
	}
}

// sayVersion tells how a version begins to get work: Temporal gives it none before.
func sayVersion(w config.Worker, namespace string, log *slog.Logger) {
	if w.Deployment == "" {
		return
	}
	log.Warn("this version begins workflows once it is current", telemetry.AttrDeployment, w.Deployment, telemetry.AttrBuild, w.BuildID,
		"command", fmt.Sprintf("temporal worker deployment set-current-version --namespace %s --deployment-name %s --build-id %s", namespace, w.Deployment, w.BuildID))
}
