//go:build linux

// Command observe measures what being observed costs: whole iterations of equal runs, by turns on a worker with metrics that
// are scraped, traces that are sent and a log of everything, and on one with none of them.
//
//	go run ./bench/observe -program bin/multiattempt -n 12 -rounds 4
package main

import (
	"context"
	"encoding/csv"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"gonum.org/v1/gonum/stat"
	"google.golang.org/grpc"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "observe:", err)
		stop()
		os.Exit(1)
	}
}

// comparison is what is measured.
type comparison struct {
	program, preset, ahead string
	sets                   []string
	iterations, rounds     int
	dir                    string
	workers                map[string]*process // by queue
	traces, scrapes        atomic.Int64
}

// cost is what an iteration took.
type cost struct {
	wall      []float64 // seconds of each iteration that counts
	processor float64   // seconds of the worker's processes, mean over all iterations: unlike the clock's, hardly a matter of what else runs
}

// warm is the number of iterations of each run that are not counted: what is compiled or read once is then over.
const warm = 3

func run(ctx context.Context) (err error) {
	var c comparison
	flag.StringVar(&c.program, "program", "bin/multiattempt", "the all-in-one binary")
	flag.StringVar(&c.preset, "preset", "quickstart", "run to make")
	flag.StringVar(&c.ahead, "ahead", "", "command to put before what is timed")
	flag.Func("set", "path=value of a setting, repeatable", func(s string) error { c.sets = append(c.sets, s); return nil })
	flag.IntVar(&c.iterations, "n", 12, "iterations of each run; the first three are not counted")
	flag.IntVar(&c.rounds, "rounds", 4, "runs of each kind, by turns")
	flag.Parse()
	if c.iterations <= warm {
		return fmt.Errorf("-n %d: at least %d", c.iterations, warm+1)
	}
	if c.dir, err = os.MkdirTemp("", "observe-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(c.dir)) }()
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	services, err := c.start(ctx, "up", nil, "up", "--only", "temporal,store", "--temporal-port", "0", "--ui-port", "0", "--s3-port", "0", "--web-port", "0")
	if err != nil {
		return err
	}
	defer services.end()
	if err := services.until(ctx, "Ready."); err != nil {
		return err
	}
	collector, err := c.collect(ctx)
	if err != nil {
		return err
	}
	metrics, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	seen, err := c.start(ctx, "on", []string{"MULTIATTEMPT_METRICS_LISTEN=" + metrics, "MULTIATTEMPT_TRACING_ENDPOINT=" + collector},
		"worker", "--queue", "on", "--log-level", "debug")
	if err != nil {
		return err
	}
	defer seen.end()
	unseen, err := c.start(ctx, "off", nil, "worker", "--queue", "off", "--log-level", "error")
	if err != nil {
		return err
	}
	defer unseen.end()
	c.workers = map[string]*process{"on": seen, "off": unseen}
	go c.scrape(ctx, "http://"+metrics+"/metrics")
	for _, queue := range []string{"on", "off"} { // compiles the programs of both
		if _, err := c.train(ctx, queue, queue+"-first", warm+1, ""); err != nil {
			return err
		}
	}
	return c.compare(ctx)
}

// compare makes the runs and prints the difference.
func (c *comparison) compare(ctx context.Context) error {
	seconds := map[string][]float64{}
	var rounds, processor []float64 // differences of a round, as shares: of medians, and of processor time
	for round := range c.rounds {
		kinds := []string{"on", "off"}
		if round%2 == 1 {
			slices.Reverse(kinds)
		}
		medians, busy := map[string]float64{}, map[string]float64{}
		for _, kind := range kinds {
			took, err := c.train(ctx, kind, fmt.Sprintf("%s-%d", kind, round), c.iterations, c.ahead)
			if err != nil {
				return err
			}
			seconds[kind] = append(seconds[kind], took.wall...)
			medians[kind], busy[kind] = median(took.wall), took.processor
		}
		rounds, processor = append(rounds, medians["on"]/medians["off"]-1), append(processor, busy["on"]/busy["off"]-1)
		fmt.Printf("round %d: on %.3f s, off %.3f s an iteration (medians); of processors %.3f s and %.3f s\n", round+1,
			medians["on"], medians["off"], busy["on"], busy["off"])
	}
	if c.traces.Load() == 0 || c.scrapes.Load() == 0 {
		return fmt.Errorf("%d batches of spans arrived and %d scrapes succeeded: nothing was observed", c.traces.Load(), c.scrapes.Load())
	}
	on, off := median(seconds["on"]), median(seconds["off"])
	mean, spread := meanAndError(rounds)
	fmt.Printf("%s %v, %d iterations of each: on %.3f s, off %.3f s, difference %+.2f %%; mean of %d rounds %+.2f %% ± %.2f (standard error)\n",
		c.preset, c.sets, len(seconds["on"]), on, off, 100*(on/off-1), c.rounds, 100*mean, 100*spread)
	mean, spread = meanAndError(processor)
	fmt.Printf("processor time: mean of rounds %+.2f %% ± %.2f\n", 100*mean, 100*spread)
	fmt.Printf("%d batches of spans, %d scrapes\n", c.traces.Load(), c.scrapes.Load())
	return nil
}

// train makes one run on a worker's queue and returns what its iterations took.
func (c *comparison) train(ctx context.Context, queue, run string, iterations int, ahead string) (cost, error) {
	before, err := c.workers[queue].processorTime()
	if err != nil {
		return cost{}, err
	}
	args := append(strings.Fields(ahead), c.program, "train", "--queue", queue, "--run", run, "--preset", c.preset, "--follow", "--sample-every", "0",
		"--state-dir", c.state(), "--set", fmt.Sprintf("iterations=%d", iterations), "--set", "critic_warmup=0", "--set", fmt.Sprintf("checkpoint.every=%d", iterations),
		"--set", "evaluation.every=0", "--set", "evaluation.final_attempts=[]")
	for _, s := range c.sets {
		args = append(args, "--set", s)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the caller names the program
	if out, err := cmd.CombinedOutput(); err != nil {
		return cost{}, fmt.Errorf("%s: %w\n%s", run, err, out)
	}
	after, err := c.workers[queue].processorTime()
	if err != nil {
		return cost{}, err
	}
	table, err := exec.CommandContext(ctx, c.program, "export-metrics", run, "--csv", "-", "--state-dir", c.state()).Output() //nolint:gosec // the same
	if err != nil {
		return cost{}, err
	}
	rows, err := csv.NewReader(strings.NewReader(string(table))).ReadAll()
	if err != nil {
		return cost{}, err
	}
	if len(rows)-1 != iterations {
		return cost{}, fmt.Errorf("%s has %d steps, not %d", run, len(rows)-1, iterations)
	}
	at := slices.Index(rows[0], "time/stages_seconds")
	if at < 0 {
		return cost{}, fmt.Errorf("%s has no time/stages_seconds", run)
	}
	took := cost{processor: (after - before) / float64(iterations)}
	for _, row := range rows[1+warm:] {
		seconds, err := strconv.ParseFloat(row[at], 64)
		if err != nil {
			return cost{}, err
		}
		took.wall = append(took.wall, seconds)
	}
	return took, nil
}

func (c *comparison) state() string { return filepath.Join(c.dir, "state") }

// collect receives spans and throws them away.
func (c *comparison) collect(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		var batch raw
		if err := s.RecvMsg(&batch); err != nil {
			return err
		}
		c.traces.Add(1)
		return s.SendMsg(&raw{})
	}), grpc.ForceServerCodec(rawCodec{}))
	go server.Serve(l) //nolint:errcheck // ends with the program
	context.AfterFunc(ctx, server.Stop)
	return "http://" + l.Addr().String(), nil
}

// raw is a message whose bytes nobody looks into.
type raw []byte

type rawCodec struct{}

func (rawCodec) Marshal(v any) ([]byte, error)      { return *v.(*raw), nil }
func (rawCodec) Unmarshal(data []byte, v any) error { *v.(*raw) = slices.Clone(data); return nil }
func (rawCodec) Name() string                       { return "proto" }

// scrape reads the metrics as often as Prometheus does.
func (c *comparison) scrape(ctx context.Context, address string) {
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
			if err != nil {
				return
			}
			answer, err := http.DefaultClient.Do(r)
			if err != nil {
				continue
			}
			if _, err := io.Copy(io.Discard, answer.Body); err == nil && answer.StatusCode == http.StatusOK {
				c.scrapes.Add(1)
			}
			_ = answer.Body.Close()
		}
	}
}

// process is a part of the installation; its output is in a file.
type process struct {
	cmd   *exec.Cmd
	log   string
	ended chan struct{}
}

func (c *comparison) start(ctx context.Context, name string, env []string, args ...string) (*process, error) {
	p := &process{log: filepath.Join(c.dir, name+".log"), ended: make(chan struct{})}
	out, err := os.Create(p.log)
	if err != nil {
		return nil, err
	}
	p.cmd = exec.CommandContext(ctx, c.program, append(args, "--state-dir", c.state(), "--cache-dir", cacheDir(c.dir, name))...) //nolint:gosec // the caller names it
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append(os.Environ(), env...), out, out
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(os.Interrupt) }
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // how it ended shows in what follows
		close(p.ended)
	}()
	return p, nil
}

// cacheDir is the user's own, which holds the backend's plugin; two workers share one as any two on a machine do.
func cacheDir(dir, name string) string {
	if user, err := os.UserCacheDir(); err == nil {
		return filepath.Join(user, "multiattempt")
	}
	return filepath.Join(dir, name)
}

func (p *process) until(ctx context.Context, text string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		b, err := os.ReadFile(p.log)
		if err != nil || strings.Contains(string(b), text) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.ended:
			return fmt.Errorf("%v ended:\n%s", p.cmd.Args, b)
		case <-tick.C:
		}
	}
}

func (p *process) end() {
	_ = p.cmd.Process.Signal(os.Interrupt)
	<-p.ended
}

// processorTime returns the seconds that the process has computed, in user and system mode.
func (p *process) processorTime() (float64, error) {
	const perSecond = 100 // USER_HZ of Linux
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), ") ") // behind the program's name
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat: %q", p.cmd.Process.Pid, b)
	}
	ticks := 0.0
	for _, f := range fields[11:13] { // utime and stime
		n, err := strconv.ParseFloat(f, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return ticks / perSecond, nil
}

func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func median(of []float64) float64 {
	sorted := slices.Sorted(slices.Values(of))
	return (sorted[len(sorted)/2] + sorted[(len(sorted)-1)/2]) / 2
}

func meanAndError(of []float64) (mean, spread float64) {
	mean, deviation := stat.MeanStdDev(of, nil)
	return mean, stat.StdErr(deviation, float64(len(of)))
}
