package s3_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"multiattempt/internal/blob"
	"multiattempt/internal/blob/s3"
)

// TestStaleUploadsAreFoundAndAborted: those of the prefix that are old enough, over pages of uploads and of parts.
func TestStaleUploadsAreFoundAndAborted(t *testing.T) {
	now := time.Now()
	at := func(age time.Duration) string { return now.Add(-age).UTC().Format(time.RFC3339) }
	var aborted []string
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		switch {
		case q.Has("uploads") && q.Get("key-marker") == "":
			require.Equal(t, "runs/r/", q.Get("prefix"))
			fmt.Fprintf(w, `<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>runs/r/a</NextKeyMarker>
				<Upload><Key>runs/r/a</Key><UploadId>old</UploadId><Initiated>%s</Initiated></Upload></ListMultipartUploadsResult>`, at(48*time.Hour))
		case q.Has("uploads"):
			fmt.Fprintf(w, `<ListMultipartUploadsResult><IsTruncated>false</IsTruncated>
				<Upload><Key>runs/r/b</Key><UploadId>young</UploadId><Initiated>%s</Initiated></Upload>
				<Upload><Key>runs/r/c</Key><UploadId>finished</UploadId><Initiated>%s</Initiated></Upload>
				<Upload><Key>runs/rest</Key><UploadId>another</UploadId><Initiated>%s</Initiated></Upload>
				</ListMultipartUploadsResult>`, at(time.Hour), at(48*time.Hour), at(48*time.Hour))
		case r.Method == http.MethodDelete:
			aborted = append(aborted, q.Get("uploadId"))
			w.WriteHeader(http.StatusNoContent)
		case q.Get("uploadId") == "finished":
			refuse(404, "NoSuchUpload")(w, r)
		case q.Get("part-number-marker") == "1":
			fmt.Fprint(w, `<ListPartsResult><IsTruncated>false</IsTruncated><Part><PartNumber>2</PartNumber><Size>7</Size></Part></ListPartsResult>`)
		default:
			fmt.Fprint(w, `<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>
				<Part><PartNumber>1</PartNumber><Size>100</Size></Part></ListPartsResult>`)
		}
	})
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	for _, dry := range []bool{true, false} {
		uploads, bytes, err := s.SweepUploads(t.Context(), "runs/r/", now.Add(-24*time.Hour), dry)
		require.NoError(t, err)
		require.Equal(t, 1, uploads)
		require.EqualValues(t, 107, bytes)
		require.Equal(t, !dry, len(aborted) == 1)
	}
	require.Equal(t, []string{"old"}, aborted)

	s, err = s3.Open(t.Context(), serve(t, refuse(403, "AccessDenied")))
	require.NoError(t, err)
	_, _, err = s.SweepUploads(t.Context(), "runs/r/", now, true)
	require.ErrorIs(t, err, s3.ErrDenied)
}

// TestAClockThatIsWrongIsNamedUntilItIsSet: a server that looks at the time of each request, as S3 does, and is 20 minutes ahead.
func TestAClockThatIsWrongIsNamedUntilItIsSet(t *testing.T) {
	ahead := 20 * time.Minute
	o := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sent, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if off := time.Now().Add(ahead).Sub(sent); err != nil || off.Abs() > 15*time.Minute {
			refuse(403, "RequestTimeTooSkewed")(w, r)
		}
	})
	s, err := s3.Open(t.Context(), o)
	require.NoError(t, err)
	put := func() error { return putText(t, s, "key", "x") }
	require.ErrorIs(t, put(), s3.ErrClockSkew)
	require.ErrorContains(t, put(), "set the time of both machines")
	ahead = 0
	require.NoError(t, put())
}

func putText(t *testing.T, s *s3.Store, key, text string) error {
	t.Helper()
	_, err := s.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), blob.PutOptions{})
	return err
}
