package cli

import (
	"context"
	"path/filepath"
)

// StackOptions say where the embedded services keep their state and where they listen.
type StackOptions struct {
	DataDir      string // absolute; locked for this process while the stack runs
	TemporalPort int    // gRPC frontend; 0: any free port
	UIPort       int    // Temporal UI; 0: any free port
	S3Port       int    // object store; 0: any free port
	Namespace    string // created if absent, with our search attributes
	Bucket       string // created if absent
	NoTemporal   bool   // start neither Temporal nor its UI
	NoStore      bool   // start no object store
}

// Stack is a running set of services: Temporal server, Temporal UI and S3 store, all on loopback.
type Stack struct {
	TemporalAddress string // host:port
	UIURL           string // http://host:port
	S3Endpoint      string // host:port, plain HTTP
	AccessKey       string // generated at first start, kept in the data directory with mode 0600
	SecretKey       string
	Stop            func() error // after workers stopped and clients closed
}

// StackStarter starts the services of one machine. The embedded S3 store moves the working directory of the process into
// the data directory for ever: whoever calls it makes all relative paths absolute beforehand.
type StackStarter func(ctx context.Context, o StackOptions) (*Stack, error)

// absolute makes paths independent of the working directory; the empty one and -, standard output, stay.
func absolute(paths ...*string) error {
	for _, path := range paths {
		if *path == "" || *path == "-" {
			continue
		}
		abs, err := filepath.Abs(*path)
		if err != nil {
			return err
		}
		*path = abs
	}
	return nil
}

// startStack is nil in a build without embedded services.
var startStack StackStarter

// SetStack links the embedded services into the command line; only the all-in-one binary calls it, before Main.
func SetStack(s StackStarter) { startStack = s }
