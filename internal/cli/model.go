package cli

import (
	"github.com/spf13/cobra"

	"multiattempt/internal/engine"
)

func (a *app) newModel() *cobra.Command {
	cmd := &cobra.Command{Use: "model", Short: "Inspect models, and make model folders", Example: "  multiattempt model inspect builtin:smudged-base"}
	cmd.AddCommand(a.newModelInspect(), a.newModelImport())
	return cmd
}

func (a *app) newModelImport() *cobra.Command {
	return &cobra.Command{
		Use:     "import FILE DIR",
		Short:   "Make a Hugging Face folder of a GGUF file, with its weights in float32",
		Example: "  multiattempt model import SmolLM2-135M-Instruct.gguf models/SmolLM2-135M-Instruct",
		Args:    cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error {
			dir, err := emptyFolder(args[1])
			if err != nil {
				return err
			}
			if err := engine.ImportGGUF(args[0], dir); err != nil {
				return err
			}
			a.printf("Model %s\n", dir)
			return nil
		},
	}
}
