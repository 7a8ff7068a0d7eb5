package worker

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/proto"

	"multiattempt/config"
)

// ErrCodecKey: a payload key cannot be used, or a history holds what none of the keys decrypts.
var ErrCodecKey = errors.New("payload key")

// Metadata of an encrypted payload, as Temporal's own examples name them.
const (
	metaEncoding      = "encoding"
	encodingEncrypted = "binary/encrypted"
	metaKeyID         = "encryption-key-id"
)

// codec encrypts payloads with AES-256-GCM. What is not encrypted passes: a run may begin plain and go on encrypted.
type codec struct {
	first string                 // id of the key that encrypts
	keys  map[string]cipher.AEAD // by id
}

var _ converter.PayloadCodec = codec{}

// newCodec reads the keys that c names.
func newCodec(c config.Codec) (codec, error) {
	text := c.Key.Reveal()
	from := "temporal.codec.key"
	if c.KeyFile != "" {
		from = c.KeyFile
		b, err := os.ReadFile(c.KeyFile)
		if err != nil {
			return codec{}, fmt.Errorf("%w: temporal.codec.key_file: %w", ErrCodecKey, err)
		}
		text = string(b)
	}
	keys := codec{keys: map[string]cipher.AEAD{}}
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		key, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(key) != 32 {
			return codec{}, fmt.Errorf("%w: %s: want 32 random bytes in base64, as `openssl rand -base64 32` prints them", ErrCodecKey, from)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return codec{}, err
		}
		aead, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return codec{}, err
		}
		id := keyID(key)
		keys.keys[id] = aead
		if keys.first == "" {
			keys.first = id
		}
	}
	if keys.first == "" {
		return codec{}, fmt.Errorf("%w: %s holds none; `openssl rand -base64 32` makes one", ErrCodecKey, from)
	}
	return keys, nil
}

// keyID names a key without telling it.
func keyID(key []byte) string {
	sum := sha256.Sum256(append([]byte("multiattempt payload key:"), key...))
	return hex.EncodeToString(sum[:6])
}

// Encode implements converter.PayloadCodec.
func (c codec) Encode(plain []*commonpb.Payload) ([]*commonpb.Payload, error) {
	sealed := make([]*commonpb.Payload, len(plain))
	for i, p := range plain {
		b, err := proto.Marshal(p)
		if err != nil {
			return nil, err
		}
		sealed[i] = &commonpb.Payload{
			Metadata: map[string][]byte{metaEncoding: []byte(encodingEncrypted), metaKeyID: []byte(c.first)},
			Data:     c.keys[c.first].Seal(make([]byte, 0, len(b)+c.keys[c.first].Overhead()), nil, b, []byte(c.first)),
		}
	}
	return sealed, nil
}

// Decode implements converter.PayloadCodec.
func (c codec) Decode(sealed []*commonpb.Payload) ([]*commonpb.Payload, error) {
	plain := make([]*commonpb.Payload, len(sealed))
	for i, p := range sealed {
		if string(p.GetMetadata()[metaEncoding]) != encodingEncrypted {
			plain[i] = p
			continue
		}
		id := string(p.GetMetadata()[metaKeyID])
		aead, ok := c.keys[id]
		if !ok {
			return nil, fmt.Errorf("%w %s is not among the %d that this process has: add it to temporal.codec.key_file", ErrCodecKey, id, len(c.keys))
		}
		b, err := aead.Open(nil, nil, p.GetData(), []byte(id))
		if err != nil {
			return nil, fmt.Errorf("%w %s does not open a payload, which was changed: %w", ErrCodecKey, id, err)
		}
		plain[i] = &commonpb.Payload{}
		if err := proto.Unmarshal(b, plain[i]); err != nil {
			return nil, err
		}
	}
	return plain, nil
}

// DataConverter returns what turns values into payloads and back, encrypted if the configuration says so.
func DataConverter(c config.Codec) (converter.DataConverter, error) {
	if !c.On() {
		return converter.GetDefaultDataConverter(), nil
	}
	keys, err := newCodec(c)
	if err != nil {
		return nil, err
	}
	return converter.NewCodecDataConverter(converter.GetDefaultDataConverter(), keys), nil
}

// CodecHandler answers POST /encode and /decode for the Temporal UI and the temporal command, with pages of origin only.
func CodecHandler(c config.Codec, origin string) (http.Handler, error) {
	keys, err := newCodec(c)
	if err != nil {
		return nil, err
	}
	decode := converter.NewPayloadCodecHTTPHandler(keys)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", origin)
		h.Set("Access-Control-Allow-Headers", "Content-Type, X-Namespace")
		h.Set("Access-Control-Allow-Methods", "POST, OPTIONS")
		h.Set("Vary", "Origin")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		if from := r.Header.Get("Origin"); from != "" && from != origin {
			http.Error(w, "this codec server serves pages of "+origin+" only", http.StatusForbidden)
			return
		}
		decode.ServeHTTP(w, r)
	}), nil
}
