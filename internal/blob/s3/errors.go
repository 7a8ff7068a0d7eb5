package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/minio/minio-go/v7"

	"multiattempt/internal/blob"
)

// Errors of the server or of the way to it; match them with errors.Is. ErrUnreachable and ErrFull may pass with time,
// the others need a person.
var (
	ErrUnreachable = errors.New("object store does not answer: is it running, and are address and scheme (http or https) right?")
	ErrCredentials = errors.New("object store does not accept the credentials: check access key and secret key")
	ErrExpired     = errors.New("credentials of the object store have expired: files and roles are read again at the next try, a configured session token must be replaced")
	ErrDenied      = errors.New("object store denies access: the credentials need to list, read, write and delete in this bucket")
	ErrClockSkew   = errors.New("object store rejects this machine's clock: set the time of both machines (NTP)")
	ErrNoBucket    = errors.New("bucket does not exist: create it, or correct the configured name")
	ErrFull        = errors.New("object store has no space left: free some or enlarge its disk, the run goes on by itself")
)

// byCode names the causes of S3 error codes (Amazon S3 API reference, "List of error codes"; those that begin with X are
// MinIO's).
var byCode = map[string]error{
	"NoSuchKey":                      blob.ErrNotFound,
	"NoSuchBucket":                   ErrNoBucket,
	"InvalidBucketName":              ErrNoBucket,
	"InvalidAccessKeyId":             ErrCredentials,
	"SignatureDoesNotMatch":          ErrCredentials,
	"XAdminUserNotFound":             ErrCredentials, // versitygw without accounts
	"InvalidToken":                   ErrCredentials,
	"ExpiredToken":                   ErrExpired,
	"ExpiredTokenException":          ErrExpired,
	"AuthorizationHeaderMalformed":   ErrCredentials,
	"AccessDenied":                   ErrDenied,
	"RequestTimeTooSkewed":           ErrClockSkew,
	"QuotaExceeded":                  ErrFull,
	"XMinioStorageFull":              ErrFull,
	"InsufficientStorage":            ErrFull,
	"XMinioAdminBucketQuotaExceeded": ErrFull,
	"ObjectParentIsFile":             blob.ErrInvalidKey,
	"ExistingObjectIsDirectory":      blob.ErrInvalidKey,
	"ObjectExistsAsDirectory":        blob.ErrInvalidKey,
	"XMinioObjectExistsAsDirectory":  blob.ErrInvalidKey,
	"XMinioParentIsObject":           blob.ErrInvalidKey,
	"KeyTooLongError":                blob.ErrInvalidKey,
}

// explain wraps err with the operation, the place and, where known, a sentinel that says what to do.
func (s *Store) explain(ctx context.Context, op, key string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	at := op + " " + s.where
	if key != "" {
		at += "/" + key
	}
	if _, ok := errors.AsType[net.Error](err); ok {
		return fmt.Errorf("%s: %w (%w)", at, ErrUnreachable, err)
	}
	answer, ok := errors.AsType[minio.ErrorResponse](err)
	if !ok {
		return fmt.Errorf("%s: %w", at, err)
	}
	if cause, ok := byCode[answer.Code]; ok {
		if cause == ErrExpired || cause == ErrCredentials { //nolint:errorlint // from our own table
			s.creds.Expire() // the next call reads them again from where they come
		}
		return fmt.Errorf("%s: %w (%s)", at, cause, answer.Code)
	}
	return fmt.Errorf("%s: object store answers %d %s: %w", at, answer.StatusCode, answer.Code, answer)
}

// refused reports whether the server found the condition of a write not met.
func refused(err error, opts blob.PutOptions) bool {
	if !opts.IfAbsent && opts.IfMatch == "" {
		return false
	}
	answer := minio.ToErrorResponse(err)
	switch {
	case answer.StatusCode == http.StatusPreconditionFailed:
		return true
	case answer.Code == "ConditionalRequestConflict": // a concurrent write of the same key won (409)
		return true
	default: // If-Match on an object that is gone
		return opts.IfMatch != "" && answer.Code == minio.NoSuchKey
	}
}
