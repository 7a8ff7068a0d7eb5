// Command multiattempt with everything inside: the command line of cmd/multiattempt, and the services of package stack.
package main

import (
	"context"
	"os"

	"multiattempt/internal/cli"
	"multiattempt/standalone/stack"
)

func main() {
	cli.SetStack(func(ctx context.Context, o cli.StackOptions) (*cli.Stack, error) {
		s, err := stack.Start(ctx, stack.Options(o))
		return (*cli.Stack)(s), err
	})
	os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr))
}
