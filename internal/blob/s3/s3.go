// Package s3 keeps objects in one bucket of a server that speaks the S3 protocol.
//
// The digest of every object lies in its user metadata; of objects that other programs wrote, the server's own SHA-256 counts where
// it has one.
//
// Conditional writes use the headers If-None-Match and If-Match of PutObject and CompleteMultipartUpload, which Amazon S3,
// MinIO and versitygw honour.
package s3

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"multiattempt/internal/blob"
)

// Keys of the user metadata, in the form in which minio-go returns them.
const (
	metaDigest  = "Sha256"   // of the bytes, hexadecimal
	metaWriteID = "Write-Id" // random, names one call of Put: a repeated request finds out that it had won already
	metaOnce    = "Once"     // "1": created conditionally, hence never replaced
)

// defaultPartSize is Options.PartSize where none is given.
const defaultPartSize = 64 << 20

// Options say where the bucket is and who asks.
type Options struct {
	Endpoint  string // host:port
	Secure    bool   // HTTPS
	Region    string // empty: us-east-1
	Bucket    string
	AccessKey string // empty, with SecretKey: the usual AWS environment variables, files and instance roles
	SecretKey string
	// SessionToken belongs to temporary keys.
	SessionToken string
	Authorities  *x509.CertPool    // that may have signed the server's certificate; nil: the system's
	MaxRetries   int               // of one request, at growing intervals below a second; 0: 5
	PartSize     uint64            // bytes above which an upload is sent, and repeated, in parts, at least 5 MiB; 0: 64 MiB
	Transport    http.RoundTripper // nil: minio-go's default
}

// Store is a bucket.
type Store struct {
	core   *minio.Core
	creds  *credentials.Credentials
	bucket string
	part   uint64
	where  string // for error messages
}

var _ blob.Store = (*Store)(nil)

// Open connects to an existing bucket. It fails with ErrUnreachable, ErrCredentials, ErrDenied, ErrClockSkew or
// ErrNoBucket, each saying what to do.
func Open(ctx context.Context, o Options) (*Store, error) {
	s, err := connect(o)
	if err != nil {
		return nil, err
	}
	// A listing, unlike a HEAD request, is answered with a body that tells the causes apart.
	enough := errors.New("one key is enough")
	if err := s.List(ctx, "", func(blob.Info) error { return enough }); err != nil && !errors.Is(err, enough) {
		return nil, err
	}
	return s, nil
}

// OpenOrCreate is Open, except that it makes a missing bucket.
func OpenOrCreate(ctx context.Context, o Options) (*Store, error) {
	s, err := connect(o)
	if err != nil {
		return nil, err
	}
	err = s.core.MakeBucket(ctx, o.Bucket, minio.MakeBucketOptions{Region: o.region()})
	switch minio.ToErrorResponse(err).Code {
	case "BucketAlreadyOwnedByYou", "BucketAlreadyExists":
		err = nil
	}
	if err != nil {
		return nil, s.explain(ctx, "create", "", err)
	}
	return Open(ctx, o)
}

func (o Options) region() string {
	if o.Region == "" {
		return "us-east-1"
	}
	return o.Region
}

// transport is what requests go through.
func (o Options) transport() (http.RoundTripper, error) {
	if o.Transport != nil || o.Authorities == nil {
		return o.Transport, nil
	}
	t, err := minio.DefaultTransport(o.Secure)
	if err != nil {
		return nil, err
	}
	t.TLSClientConfig = &tls.Config{RootCAs: o.Authorities, MinVersion: tls.VersionTLS12}
	return t, nil
}

func connect(o Options) (*Store, error) {
	creds := credentials.NewStaticV4(o.AccessKey, o.SecretKey, o.SessionToken)
	if o.AccessKey == "" && o.SecretKey == "" {
		creds = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{},
		})
	}
	retries := o.MaxRetries
	if retries == 0 {
		retries = 5
	}
	transport, err := o.transport()
	if err != nil {
		return nil, fmt.Errorf("object store at %q: %w", o.Endpoint, err)
	}
	// TrailingHeaders stays false: versitygw does not understand how minio-go ends a trailer.
	core, err := minio.NewCore(o.Endpoint, &minio.Options{
		Creds: creds, Secure: o.Secure, Region: o.region(), MaxRetries: retries, Transport: transport,
	})
	if err != nil {
		return nil, fmt.Errorf("object store at %q: %w", o.Endpoint, err)
	}
	part := o.PartSize
	if part == 0 {
		part = defaultPartSize
	}
	return &Store{core: core, creds: creds, bucket: o.Bucket, part: part, where: o.Endpoint + "/" + o.Bucket}, nil
}

// Put implements blob.Store.
func (s *Store) Put(ctx context.Context, key string, body io.ReadSeeker, size int64, opts blob.PutOptions) (blob.Info, error) {
	if err := blob.CheckPut(key, size, opts); err != nil {
		return blob.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return blob.Info{}, err
	}
	if err := blob.CheckBody(key, body, size); err != nil {
		return blob.Info{}, err
	}
	digest := opts.SHA256
	if digest.IsZero() {
		var err error
		if digest, err = digestOf(key, body, size); err != nil {
			return blob.Info{}, err
		}
	}
	id := rand.Text()
	put := minio.PutObjectOptions{
		PartSize:     s.part,
		UserMetadata: map[string]string{metaDigest: digest.String(), metaWriteID: id},
	}
	switch {
	case opts.IfAbsent:
		put.UserMetadata[metaOnce] = "1"
		put.SetMatchETagExcept("*")
	case opts.IfMatch != "":
		put.SetMatchETag(opts.IfMatch)
	}
	up, err := s.core.Client.PutObject(ctx, s.bucket, key, keepOpen{body}, size, put)
	if err == nil {
		return blob.Info{Key: key, Size: size, ETag: up.ETag, SHA256: digest, Modified: up.LastModified}, nil
	}
	if refused(err, opts) {
		return s.refusedPut(ctx, key, id, opts)
	}
	return blob.Info{}, s.explain(ctx, "put", key, err)
}

// refusedPut decides what a failed condition means: minio-go repeats a request whose answer was lost, and then the
// object that stands in the way may be the very one that this call wrote.
func (s *Store) refusedPut(ctx context.Context, key, id string, opts blob.PutOptions) (blob.Info, error) {
	o, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
	if err == nil && o.UserMetadata[metaWriteID] == id {
		return info(o), nil
	}
	if opts.IfAbsent {
		return blob.Info{}, fmt.Errorf("put %s: %w", key, blob.ErrExists)
	}
	return blob.Info{}, fmt.Errorf("put %s: %w", key, blob.ErrConflict)
}

// digestOf hashes body, from its start, and leaves it there.
func digestOf(key string, body io.ReadSeeker, size int64) (blob.Digest, error) {
	digest, n, err := blob.SumStream(body)
	if err != nil {
		return blob.Digest{}, fmt.Errorf("put %s: %w", key, err)
	}
	if n != size {
		return blob.Digest{}, fmt.Errorf("put %s: %w: announced %d bytes, got %d", key, blob.ErrBodySize, size, n)
	}
	if _, err := body.Seek(0, io.SeekStart); err != nil {
		return blob.Digest{}, fmt.Errorf("put %s: %w", key, err)
	}
	return digest, nil
}

// Get implements blob.Store.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, blob.Info, error) {
	if err := blob.CheckKey(key); err != nil {
		return nil, blob.Info{}, err
	}
	for {
		body, o, _, err := s.core.GetObject(ctx, s.bucket, key, minio.GetObjectOptions{})
		if err != nil {
			return nil, blob.Info{}, s.explain(ctx, "get", key, err)
		}
		if o.UserMetadata[metaOnce] != "" {
			return body, info(o), nil
		}
		// versitygw reads the ETag before it opens the file, so under an overwrite an answer may join the old ETag to
		// the new bytes. The metadata belong to the bytes: agreement with a later look proves the ETag does, too.
		later, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{})
		if err == nil && later.ETag == o.ETag && later.UserMetadata[metaWriteID] == o.UserMetadata[metaWriteID] {
			return body, info(o), nil
		}
		if cerr := body.Close(); cerr != nil && err == nil {
			err = cerr
		}
		if err != nil {
			return nil, blob.Info{}, s.explain(ctx, "get", key, err)
		}
	}
}

// Stat implements blob.Store.
func (s *Store) Stat(ctx context.Context, key string) (blob.Info, error) {
	if err := blob.CheckKey(key); err != nil {
		return blob.Info{}, err
	}
	o, err := s.core.StatObject(ctx, s.bucket, key, minio.StatObjectOptions{Checksum: true})
	if err != nil {
		return blob.Info{}, s.explain(ctx, "stat", key, err)
	}
	return info(o), nil
}

// List implements blob.Store.
func (s *Store) List(ctx context.Context, prefix string, yield func(blob.Info) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return s.explain(ctx, "list", prefix, o.Err)
		}
		if err := yield(info(o)); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Folders implements blob.FolderLister.
func (s *Store) Folders(ctx context.Context, prefix string, yield func(string) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: prefix}) {
		if o.Err != nil {
			return s.explain(ctx, "list", prefix, o.Err)
		}
		name, isFolder := strings.CutSuffix(strings.TrimPrefix(o.Key, prefix), "/")
		if !isFolder {
			continue
		}
		if err := yield(name); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Delete implements blob.Store.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	err := s.core.RemoveObject(ctx, s.bucket, key, minio.RemoveObjectOptions{})
	if err == nil || minio.ToErrorResponse(err).Code == minio.NoSuchKey {
		return nil
	}
	return s.explain(ctx, "delete", key, err)
}

// info converts a description; a digest that is absent or not ours to read stays zero.
func info(o minio.ObjectInfo) blob.Info {
	d, err := blob.ParseDigest(o.UserMetadata[metaDigest])
	if err != nil {
		d = checksum(o)
	}
	return blob.Info{Key: o.Key, Size: o.Size, ETag: o.ETag, SHA256: d, Modified: o.LastModified}
}

// checksum is the SHA-256 that the server keeps of an object which another program uploaded with one; zero without it. Of an
// object uploaded in parts it is that of the parts' digests, not of the bytes.
func checksum(o minio.ObjectInfo) blob.Digest {
	raw, err := base64.StdEncoding.DecodeString(o.ChecksumSHA256) // "…=-3" of three parts does not decode
	if err != nil || len(raw) != len(blob.Digest{}) || o.ChecksumMode == "COMPOSITE" {
		return blob.Digest{}
	}
	return blob.Digest(raw)
}

// keepOpen hides a Close method from minio-go, which would call it; the caller's body stays open.
type keepOpen struct{ io.ReadSeeker }
