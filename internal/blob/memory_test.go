package blob_test

import (
	"testing"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/blobtest"
)

func TestMemory(t *testing.T) {
	blobtest.Run(t, func(*testing.T) blob.Store { return blob.NewMemory() })
}
