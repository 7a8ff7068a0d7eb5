package track

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// An event file is a sequence of TFRecords (tensorflow/core/lib/io/record_writer.h): length as uint64, its masked CRC-32C,
// the bytes, their masked CRC-32C, all little-endian. The bytes are an Event (tensorflow/core/util/event.proto), of which
// these field numbers are used.
const (
	eventWallTime, eventStep, eventFileVersion, eventSummary = 1, 2, 3, 5
	summaryValue                                             = 1
	valueTag, valueSimple, valueTensor, valueMetadata        = 1, 2, 8, 9
	metadataPlugin, metadataClass                            = 1, 4
	pluginName, pluginContent                                = 1, 2
	tensorType, tensorShape, tensorFloats, tensorStrings     = 1, 2, 5, 8
	shapeDim, dimSize                                        = 2, 1

	// tensorboard/plugins/hparams/plugin_data.proto
	hparamsStart, hparamsEnd   = 3, 4
	startHparams, startSeconds = 1, 5
	endStatus, endSeconds      = 1, 2

	classTensor   = 2 // DATA_CLASS_TENSOR
	typeFloat     = 1 // DT_FLOAT
	typeString    = 7 // DT_STRING
	statusSuccess = 1
)

const (
	tagHparamsStart = "_hparams_/session_start_info"
	tagHparamsEnd   = "_hparams_/session_end_info"
	fileVersion     = "brain.Event:2"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// masked is the checksum of a TFRecord.
func masked(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}

// appendRecord frames one event.
func appendRecord(b, event []byte) []byte {
	head := binary.LittleEndian.AppendUint64(nil, uint64(len(event)))
	b = append(b, head...)
	b = binary.LittleEndian.AppendUint32(b, masked(head))
	b = append(b, event...)
	return binary.LittleEndian.AppendUint32(b, masked(event))
}

// errTorn: a record at the end of a file is incomplete or damaged.
var errTorn = errors.New("torn record")

// maxEvent bounds what is read as one event. Unit: bytes.
const maxEvent = 64 << 20

// readRecord returns the next event, io.EOF at the end of the file, and errTorn before it.
func readRecord(r io.Reader) ([]byte, error) {
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errTorn
		}
		return nil, err
	}
	n := binary.LittleEndian.Uint64(head[:8])
	if masked(head[:8]) != binary.LittleEndian.Uint32(head[8:]) || n > maxEvent {
		return nil, errTorn
	}
	body := make([]byte, n+4)
	if _, err := io.ReadFull(r, body); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
			return nil, errTorn
		}
		return nil, err
	}
	if masked(body[:n]) != binary.LittleEndian.Uint32(body[n:]) {
		return nil, errTorn
	}
	return body[:n], nil
}

// event is an Event without a summary.
func event(at time.Time, step int) []byte {
	b := protowire.AppendTag(nil, eventWallTime, protowire.Fixed64Type)
	b = protowire.AppendFixed64(b, math.Float64bits(unixSeconds(at)))
	b = protowire.AppendTag(b, eventStep, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(step))
}

func unixSeconds(t time.Time) float64 { return float64(t.UnixMicro()) / 1e6 }

func versionEvent(at time.Time) []byte {
	return appendText(event(at, 0), eventFileVersion, fileVersion)
}

// summaryEvent is an event with one value.
func summaryEvent(at time.Time, step int, value []byte) []byte {
	return appendBytes(event(at, step), eventSummary, appendBytes(nil, summaryValue, value))
}

// scalarValue is a Summary.Value that the scalars page shows.
func scalarValue(tag string, v float64) []byte {
	b := appendText(nil, valueTag, tag)
	b = protowire.AppendTag(b, valueSimple, protowire.Fixed32Type)
	return protowire.AppendFixed32(b, math.Float32bits(float32(v)))
}

// textValue is a Summary.Value that the text page shows, as Markdown.
func textValue(tag, text string) []byte {
	dim := appendNumber(nil, dimSize, 1)
	tensor := appendNumber(nil, tensorType, typeString)
	tensor = appendBytes(tensor, tensorShape, appendBytes(nil, shapeDim, dim))
	tensor = appendText(tensor, tensorStrings, text)
	return pluginValue(tag, "text", nil, tensor)
}

// pluginValue is a Summary.Value of a page of its own.
func pluginValue(tag, plugin string, content, tensor []byte) []byte {
	data := appendText(nil, pluginName, plugin)
	if content != nil {
		data = appendBytes(data, pluginContent, content)
	}
	b := appendText(nil, valueTag, tag)
	b = appendBytes(b, valueTensor, tensor)
	return appendBytes(b, valueMetadata, appendNumber(appendBytes(nil, metadataPlugin, data), metadataClass, classTensor))
}

// hparamsValue is a Summary.Value of the hyper-parameters page, whose tensor means nothing.
func hparamsValue(tag string, field protowire.Number, info []byte) []byte {
	tensor := appendNumber(nil, tensorType, typeFloat)
	tensor = appendBytes(tensor, tensorShape, nil)
	tensor = appendBytes(tensor, tensorFloats, protowire.AppendFixed32(nil, 0))
	return pluginValue(tag, "hparams", appendBytes(nil, field, info), tensor)
}

// startValue says with which settings a run started.
func startValue(s Settings) ([]byte, error) {
	var info []byte
	for _, name := range sortedKeys(s.Values) {
		v, err := structpb.NewValue(s.Values[name])
		if err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
		b, err := proto.Marshal(v)
		if err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
		info = appendBytes(info, startHparams, appendBytes(appendText(nil, 1, name), 2, b)) // an entry of a map
	}
	info = protowire.AppendTag(info, startSeconds, protowire.Fixed64Type)
	info = protowire.AppendFixed64(info, math.Float64bits(unixSeconds(s.At)))
	return hparamsValue(tagHparamsStart, hparamsStart, info), nil
}

// endValue says that a run did all its iterations.
func endValue(at time.Time) []byte {
	info := appendNumber(nil, endStatus, statusSuccess)
	info = protowire.AppendTag(info, endSeconds, protowire.Fixed64Type)
	info = protowire.AppendFixed64(info, math.Float64bits(unixSeconds(at)))
	return hparamsValue(tagHparamsEnd, hparamsEnd, info)
}

func appendNumber(b []byte, field protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

func appendText(b []byte, field protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), text)
}

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// place is where an event's value belongs.
type place struct {
	tag  string
	step int
}

// placeOf reads tag and step from an event; events without a value have none.
func placeOf(event []byte) (p place, ok bool) {
	each(event, func(field protowire.Number, v []byte, n uint64) {
		switch field {
		case eventStep:
			p.step = int(n)
		case eventSummary:
			each(v, func(field protowire.Number, v []byte, _ uint64) {
				if field != summaryValue {
					return
				}
				each(v, func(field protowire.Number, v []byte, _ uint64) {
					if field == valueTag {
						p.tag, ok = string(v), true
					}
				})
			})
		}
	})
	return p, ok
}

// each visits the fields of a message: bytes, or the number of a varint.
func each(b []byte, visit func(field protowire.Number, v []byte, n uint64)) {
	for len(b) > 0 {
		field, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return
		}
		b = b[n:]
		size := protowire.ConsumeFieldValue(field, kind, b)
		if size < 0 {
			return
		}
		switch kind {
		case protowire.BytesType:
			v, _ := protowire.ConsumeBytes(b)
			visit(field, v, 0)
		case protowire.VarintType:
			v, _ := protowire.ConsumeVarint(b)
			visit(field, nil, v)
		}
		b = b[size:]
	}
}
