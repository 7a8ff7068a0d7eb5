package cli

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"multiattempt/internal/printable"
)

// rawID is a line's own id: a string or a number, given back as it came.
type rawID json.RawMessage

func (id *rawID) UnmarshalJSON(b []byte) error {
	if len(b) == 0 || b[0] == '{' || b[0] == '[' || b[0] == 't' || b[0] == 'f' || b[0] == 'n' {
		return errors.New(`"id" must be a string or a number`)
	}
	*id = append((*id)[:0], b...)
	return nil
}

// MarshalJSON writes the id as it came; without one, null.
func (id rawID) MarshalJSON() ([]byte, error) {
	if len(id) == 0 {
		return []byte("null"), nil
	}
	return id, nil
}

// eachLine calls do with every line of in that is not blank, and its number from 1. Lines may be of any length.
func eachLine(in io.Reader, do func(number int, line []byte) error) error {
	reader := bufio.NewReaderSize(in, 1<<20)
	for number := 1; ; number++ {
		line, readErr := reader.ReadBytes('\n')
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return fmt.Errorf("reading line %d: %w", number, readErr)
		}
		if len(bytes.TrimSpace(line)) > 0 {
			if err := do(number, line); err != nil {
				return err
			}
		}
		if readErr != nil {
			return nil
		}
	}
}

// batches reads lines into requests, at most size of them at once, and hands each batch to do. Lines that parse refuses
// are named on problems and left out; at the end they make the command fail.
func batches[T any](in io.Reader, problems io.Writer, size int, parse func(line []byte) (T, error), do func(batch []T) error) error {
	var batch []T
	bad, total := 0, 0
	err := eachLine(in, func(number int, line []byte) error {
		total++
		request, err := parse(line)
		if err != nil {
			bad++
			printable.Fprintf(problems, "line %d: %v\n", number, err)
			return nil
		}
		if batch = append(batch, request); len(batch) < size {
			return nil
		}
		err = do(batch)
		batch = nil
		return err
	})
	if err == nil && len(batch) > 0 {
		err = do(batch)
	}
	if err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%w: %d of %d lines could not be used; they are named above, the others are done", errUsage, bad, total)
	}
	return nil
}

// strictly decodes one JSON object; unknown fields are refused by name.
func strictly(line []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(line))
	d.DisallowUnknownFields()
	return d.Decode(into)
}

// inputOf is the command's input: the file named by its only argument, or standard input.
func inputOf(cmd *cobra.Command, args []string) (io.ReadCloser, error) {
	if len(args) == 0 || args[0] == "-" {
		return io.NopCloser(cmd.InOrStdin()), nil
	}
	f, err := os.Open(args[0])
	if err != nil {
		return nil, usage("%w", err)
	}
	return f, nil
}
