package s3

import (
	"context"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"

	"multiattempt/internal/blob"
)

var _ blob.UploadSweeper = (*Store)(nil)

// SweepUploads implements blob.UploadSweeper. Amazon S3 and versitygw list uploads by prefix; MinIO lists those of one key
// only, and aborts stale ones by itself after a day.
func (s *Store) SweepUploads(ctx context.Context, prefix string, before time.Time, dry bool) (uploads int, bytes int64, err error) {
	var stale []minio.ObjectMultipartInfo
	for u := range s.core.ListIncompleteUploads(ctx, s.bucket, prefix, true) {
		if u.Err != nil {
			err = s.explain(ctx, "list uploads of", prefix, u.Err) // the last one
		} else if strings.HasPrefix(u.Key, prefix) && u.Initiated.Before(before) {
			stale = append(stale, u)
		}
	}
	for _, u := range stale {
		if err != nil {
			break
		}
		var n int64
		if n, err = s.uploaded(ctx, u); err == nil && !dry {
			err = s.core.AbortMultipartUpload(ctx, s.bucket, u.Key, u.UploadID)
		}
		if minio.ToErrorResponse(err).Code == minio.NoSuchUpload { // finished or aborted meanwhile
			err = nil
			continue
		}
		if err != nil {
			err = s.explain(ctx, "abort upload of", u.Key, err)
			break
		}
		uploads, bytes = uploads+1, bytes+n
	}
	return uploads, bytes, err
}

// uploaded is how many bytes an unfinished upload holds.
func (s *Store) uploaded(ctx context.Context, u minio.ObjectMultipartInfo) (bytes int64, err error) {
	for marker := 0; ; {
		parts, err := s.core.ListObjectParts(ctx, s.bucket, u.Key, u.UploadID, marker, 0)
		if err != nil {
			return 0, err
		}
		for _, p := range parts.ObjectParts {
			bytes += p.Size
		}
		if !parts.IsTruncated || parts.NextPartNumberMarker <= marker {
			return bytes, nil
		}
		marker = parts.NextPartNumberMarker
	}
}
