//go:build !failpoint

package worker

import (
	"go.temporal.io/sdk/interceptor"

	"multiattempt/activities"
	"multiattempt/internal/blob"
)

// instrument changes nothing; in a build with the tag failpoint it lets tests kill the process at named places.
func instrument(s blob.Store, e activities.Engine) (blob.Store, activities.Engine) { return s, e }

func interceptors() []interceptor.WorkerInterceptor { return nil }
