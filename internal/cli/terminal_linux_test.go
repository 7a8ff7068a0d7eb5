package cli

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// typewriter is a terminal that keeps what it is sent.
type typewriter struct {
	*os.File          // the side of a program
	keyboard *os.File // the side of a person
	mu       sync.Mutex
	sent     bytes.Buffer
	read     chan struct{}
}

func newTypewriter(t *testing.T, rows, columns uint16) *typewriter {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	require.NoError(t, err)
	program, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(int(person.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns}))
	w := &typewriter{File: program, keyboard: person, read: make(chan struct{})}
	go func() {
		defer close(w.read)
		buffer := make([]byte, 4096)
		for {
			n, err := person.Read(buffer)
			w.mu.Lock()
			w.sent.Write(buffer[:n])
			w.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() { _ = w.Close(); <-w.read; _ = person.Close() })
	return w
}

func (w *typewriter) text() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.sent.String()
}

// all closes the program's side and returns everything that it wrote.
func (w *typewriter) all(t *testing.T) string {
	t.Helper()
	require.NoError(t, w.Close())
	<-w.read
	return w.text()
}

// onTerminal draws an iteration of a run.
func onTerminal(t *testing.T, rows uint16) string {
	t.Helper()
	w := newTypewriter(t, rows, 100)
	s := newScreen(w.File)
	d := newDisplay(s, stage{title: "my-run"}, time.Now)
	p := position{phase: "training", done: 3, total: 8, step: 3, iterations: 8}
	for _, name := range stageNames {
		p.stages = append(p.stages, stageAt{name: name, state: stageActive, what: "episodes", done: 1, of: 4, share: 0.25, rate: 2, tokens: 1234})
	}
	d.show(p)
	d.step("step 3/8  reward +0.412")
	d.quote(`a dialogue`)
	_, err := io.WriteString(s, "a line of the log\n")
	require.NoError(t, err)
	d.note("the store is \x1b[2J away")
	require.Eventually(t, func() bool { return strings.Contains(w.text(), "3/8  training") }, 10*time.Second, 10*time.Millisecond)
	d.close()
	_, err = io.WriteString(s, "after it\n")
	require.NoError(t, err)
	return w.all(t)
}

func TestBarsOnATerminal(t *testing.T) {
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	text := onTerminal(t, 40)
	for _, line := range []string{
		"my-run", "3/8  training", "[========--------------]", "  rollout", "  evaluate", "1/4 episodes  2 episodes/s  1,234 tokens/s",
		"step 3/8  reward +0.412\r\n", "a dialogue\r\n", "a line of the log\r\n", "the store is <U+001B>[2J away\r\n", "after it\r\n",
	} {
		require.Contains(t, text, line)
	}
	require.Contains(t, text, "\x1b[1m", "bold")

	t.Setenv("NO_COLOR", "1")
	text = onTerminal(t, 40)
	require.Contains(t, text, "3/8  training")
	require.NotRegexp(t, `\x1b\[[0-9;]*m`, text)

	require.NotContains(t, onTerminal(t, 10), "rollout", "a low terminal has no room for stages")
}

func TestADumbTerminalGetsPlainLines(t *testing.T) {
	t.Setenv("TERM", "dumb")
	w := newTypewriter(t, 40, 100)
	d := newDisplay(newScreen(w.File), stage{title: "my-run"}, time.Now)
	d.show(position{phase: "training", total: 8, iterations: 8})
	d.step("step 1/8")
	d.close()
	require.Equal(t, "my-run  training  0/8\r\nmy-run  step 1/8\r\n", w.all(t))
}

func TestTopIsOnAScreenOfItsOwn(t *testing.T) {
	t.Setenv("TERM", "xterm")
	all, now := newListing()
	w := newTypewriter(t, 24, 100)
	x := &top{app: &app{stdout: w.File}, source: all, clock: func() time.Time { return now }}
	ended := make(chan error, 1)
	go func() { ended <- x.watch(t.Context(), w.File, w.File) }()
	require.Eventually(t, func() bool { return strings.Contains(w.text(), "q leaves") }, 10*time.Second, 5*time.Millisecond)
	_, err := w.keyboard.WriteString("q")
	require.NoError(t, err)
	require.NoError(t, <-ended)
	text := w.all(t)
	require.True(t, strings.HasPrefix(text, enterScreen+fromTop+"12:00:00 2 running"+eraseLine), "%q", text)
	require.True(t, strings.HasSuffix(text, leaveScreen), "%q", text)
}
