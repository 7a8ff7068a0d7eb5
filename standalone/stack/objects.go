package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/versity/versitygw/auth"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3err"
	"github.com/versity/versitygw/s3response"

	"multiattempt/internal/blob/s3"
)

const healthPath = "/-healthz"

// objects is a running S3 store.
type objects struct {
	endpoint string // host:port
	cancel   context.CancelFunc
	done     chan error
}

// startObjects serves dir, an absolute path.
//
// An object's ETag and metadata are extended attributes of its file, set before the file gets its name: data and
// metadata appear at once. A file system without them is refused, since versitygw's other way is not atomic.
func startObjects(ctx context.Context, dir string, port int, keys credentials) (*objects, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := (meta.XattrMeta{}).Test(dir); err != nil {
		return nil, fmt.Errorf("%w: %s: choose a data directory on a local disk (ext4, xfs, btrfs, apfs), or mount with user_xattr (%w)",
			ErrNoXattr, dir, err)
	}
	store, err := posix.New(dir, meta.XattrMeta{}, posix.PosixOpts{
		ValidateBucketNames: true,
		Concurrency:         64,
		CopyObjectThreshold: 5 << 30, // bytes; 0 would refuse every copy
	})
	if err != nil {
		return nil, fmt.Errorf("object store: %w", err)
	}
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	o := &objects{endpoint: address(port), cancel: cancel, done: make(chan error, 1)}
	go func() {
		o.done <- embedgw.RunVersityGW(life, durable{store}, &embedgw.Config{
			RootUserAccess:    keys.AccessKey,
			RootUserSecret:    keys.SecretKey,
			IAMService:        auth.NewIAMServiceSingle(auth.Account{Access: keys.AccessKey, Secret: keys.SecretKey, Role: auth.RoleAdmin}),
			Ports:             []string{o.endpoint},
			MaxConnections:    1024,
			MaxRequests:       512,
			MultipartMaxParts: 10000,
			KeepAlive:         false, // after an early refusal the rest of a body would be read as the next request
			Quiet:             true,
			DisableACLs:       true,
			HealthPath:        healthPath,
		})
	}()
	err = eventually(ctx, "S3 store", o.done, func(ctx context.Context) error {
		return get(ctx, "http://"+o.endpoint+healthPath)
	})
	if err != nil {
		return nil, errors.Join(err, o.stop())
	}
	return o, nil
}

func (o *objects) stop() error {
	o.cancel()
	return <-o.done
}

// get reports whether a page answers.
func get(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	if err := resp.Body.Close(); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", url, resp.Status)
	}
	return nil
}

func createBucket(ctx context.Context, endpoint, bucket string, keys credentials) error {
	_, err := s3.OpenOrCreate(ctx, s3.Options{
		Endpoint: endpoint, Bucket: bucket, AccessKey: keys.AccessKey, SecretKey: keys.SecretKey,
	})
	return err
}

// durable syncs every object to disk before it is acknowledged, which versitygw does not, and tells a full disk apart
// from errors that a client should repeat at once.
type durable struct{ *posix.Posix }

// PutObject implements backend.Backend.
func (d durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	out, err := d.Posix.PutObject(ctx, in)
	if err == nil {
		err = persist(*in.Bucket, *in.Key)
	}
	return out, full(err)
}

// UploadPart implements backend.Backend.
func (d durable) UploadPart(ctx context.Context, in *awss3.UploadPartInput) (*awss3.UploadPartOutput, error) {
	out, err := d.Posix.UploadPart(ctx, in)
	return out, full(err)
}

// CompleteMultipartUpload implements backend.Backend.
func (d durable) CompleteMultipartUpload(ctx context.Context, in *awss3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	out, version, err := d.Posix.CompleteMultipartUpload(ctx, in)
	if err == nil {
		err = persist(*in.Bucket, *in.Key)
	}
	return out, version, full(err)
}

func full(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return s3err.GetAPIError(s3err.ErrQuotaExceeded)
	}
	return err
}

// persist syncs the object's file and the folders that lead to it. Paths are relative, as versitygw's are. An object that
// somebody has deleted meanwhile needs nothing.
func persist(bucket, key string) error {
	for path := filepath.Join(bucket, key); path != "."; path = filepath.Dir(path) {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return nil
}
