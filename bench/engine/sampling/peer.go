package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"

	"multiattempt/internal/engine"
)

// peer is a running peer.py: one JSON request a line in, one JSON reply a line out.
type peer struct {
	command *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
}

// startPeer loads a model folder on the other side. Without an interpreter there is none.
func startPeer(ctx context.Context, s settings, model string) (*peer, error) {
	if s.python == "" {
		return nil, nil
	}
	device := "cpu"
	if s.backend == engine.XLACUDA {
		device = "cuda"
	}
	p := &peer{command: exec.CommandContext(ctx, s.python, s.peer, model, "--device", device, "--threads", strconv.Itoa(s.threads))}
	p.command.Stderr = os.Stderr
	var err error
	if p.in, err = p.command.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.out = bufio.NewScanner(out)
	p.out.Buffer(nil, 64<<20)
	if err := p.command.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w (an empty -python measures this project alone)", s.python, err)
	}
	return p, nil
}

// call sends a request and decodes the reply.
func (p *peer) call(request, reply any) error {
	line, err := json.Marshal(request)
	if err != nil {
		return err
	}
	if _, err := p.in.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("the peer is gone: %w", err)
	}
	if !p.out.Scan() {
		return fmt.Errorf("the peer ended without a reply: %w", errors.Join(p.out.Err(), p.command.Wait()))
	}
	return json.Unmarshal(p.out.Bytes(), reply)
}

// stop ends the peer.
func (p *peer) stop() {
	if p != nil {
		_ = p.in.Close()
		_ = p.command.Wait()
	}
}
