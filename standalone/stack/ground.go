package stack

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"
)

// Errors of the machine on which the stack is to run; match them with errors.Is.
var (
	ErrInUse       = errors.New("data directory is in use")
	ErrPortTaken   = errors.New("port is taken")
	ErrNoSpace     = errors.New("disk is nearly full")
	ErrNoXattr     = errors.New("file system keeps no extended attributes")
	ErrForeignData = errors.New("data of another version")
)

// minSpace is what a start needs at least on the disk of the data directory. Unit: bytes.
const minSpace = 256 << 20

// checkSpace refuses a start that would soon fail half-way.
func checkSpace(dir string) error {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		return fmt.Errorf("data directory %s: %w", dir, err)
	}
	if free := int64(fs.Bavail) * int64(fs.Bsize); free < minSpace { //nolint:unconvert // its type differs between systems
		return fmt.Errorf("%w: %d MB are free for %s, at least %d MB are needed: free some, or choose another data directory",
			ErrNoSpace, free>>20, dir, minSpace>>20)
	}
	return nil
}

// acquire locks the data directory for this process. The kernel drops the lock when the process ends, however it ends.
func acquire(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, "lock")
	lock := flock.New(path, flock.SetPermissions(0o600), flock.SetFlag(os.O_CREATE|os.O_RDWR))
	ok, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !ok {
		return nil, fmt.Errorf("%w: process %s runs on %s: stop it, or choose another data directory", ErrInUse, holder(path), dir)
	}
	// Written in place, because the lock belongs to this very file.
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("lock data directory: %w", err), lock.Unlock())
	}
	return lock, nil
}

// holder returns the process id that the lock's owner wrote into it.
func holder(path string) string {
	b, err := os.ReadFile(path)
	if pid := strings.TrimSpace(string(b)); err == nil && pid != "" {
		return pid
	}
	return "(unknown)"
}

// ports are where the services listen, on loopback.
type ports struct {
	frontend, ui, s3 int
	// The server talks to itself through these; nobody else does.
	frontendHTTP, history, matching, worker int
}

// choosePorts finds a free port for each one left open and proves that the others are free. All listeners are held until
// the last is open, so the ports differ; between here and the services' own listening lies a small gap.
func choosePorts(o Options) (ports, error) {
	p := ports{frontend: o.TemporalPort, ui: o.UIPort, s3: o.S3Port}
	var taken error
	for _, want := range []struct {
		port *int
		name string
	}{
		{&p.frontend, "Temporal server"}, {&p.ui, "Temporal UI"}, {&p.s3, "S3 store"},
		{&p.frontendHTTP, "Temporal HTTP"}, {&p.history, "Temporal history"}, {&p.matching, "Temporal matching"}, {&p.worker, "Temporal worker"},
	} {
		l, err := net.Listen("tcp", address(*want.port))
		if err != nil {
			taken = errors.Join(taken, fmt.Errorf("%w: the %s is to listen on %s: stop the program that does (ss -ltnp shows it), or configure another port (%w)",
				ErrPortTaken, want.name, address(*want.port), err))
			continue
		}
		defer l.Close() //nolint:errcheck // only the port matters
		*want.port = l.Addr().(*net.TCPAddr).Port
	}
	return p, taken
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

// credentials are the keys of the S3 store.
type credentials struct {
	AccessKey string `json:"access_key"`
	SecretKey string `json:"secret_key"`
}

// loadCredentials reads the keys, or makes and keeps new ones at the first start.
func loadCredentials(path string) (credentials, error) {
	var c credentials
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		c = credentials{AccessKey: rand.Text()[:20], SecretKey: rand.Text() + rand.Text()}
		if b, err = json.Marshal(c); err != nil {
			return c, err
		}
		return c, renameio.WriteFile(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return c, err
	}
	if err := json.Unmarshal(b, &c); err != nil || c.AccessKey == "" || c.SecretKey == "" {
		return c, fmt.Errorf("%w: %s does not hold access_key and secret_key: remove it, new ones are made at the next start", ErrForeignData, path)
	}
	return c, nil
}
