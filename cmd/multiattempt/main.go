// Command multiattempt trains language models to learn from failed attempts, with Temporal and an S3 store that run
// elsewhere. The binary of module standalone has the same commands and both services inside.
package main

import (
	"os"

	"multiattempt/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdout, os.Stderr)) }
