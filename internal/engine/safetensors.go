package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/gomlx/compute/dtypes/bfloat16"
	"github.com/google/renameio/v2"

	"multiattempt/internal/half"
)

// ErrTensor: a safetensors file is broken, or a tensor is missing, misshapen or not finite.
var ErrTensor = errors.New("bad tensor")

// Tensor is a named float32 array in row-major order, as safetensors files hold it.
type Tensor struct {
	Name  string
	Shape []int
	Data  []float32
}

// entry is one tensor of a safetensors header; Offsets are [begin, end) within the data section.
type entry struct {
	DType   string   `json:"dtype"`
	Shape   []int    `json:"shape"`
	Offsets [2]int64 `json:"data_offsets"`
}

// size returns the tensor's number of elements; -1 for a negative dimension or an overflow.
func (e entry) size() int64 {
	n := int64(1)
	for _, d := range e.Shape {
		if d < 0 || d > 0 && n > math.MaxInt32*int64(1024)/int64(d) {
			return -1
		}
		n *= int64(d)
	}
	return n
}

// maxHeader bounds a safetensors header, as the reference implementation does.
const maxHeader = 100 << 20

// elementBytes are the element sizes of the number types that are read; all become float32.
var elementBytes = map[string]int64{"F32": 4, "F16": 2, "BF16": 2}

// WriteTensors writes a safetensors file (huggingface.co/docs/safetensors): float32, ascending by name. Equal tensors
// give equal bytes. A file of that name is replaced when the new one is whole.
func WriteTensors(path string, tensors []Tensor) error { return WriteTensorsAs(path, "F32", tensors) }

// WriteTensorsAs is WriteTensors with the numbers rounded to F32, F16 or BF16, ties to even. A number that becomes infinite
// is ErrTensor.
func WriteTensorsAs(path, dtype string, tensors []Tensor) (err error) {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	head, err := header(dtype, tensors)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	file, err := renameio.NewPendingFile(path, renameio.WithPermissions(0o644))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Cleanup()) }()
	if _, err := file.Write(head); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, t := range tensors {
		raw, err := narrow(t, dtype)
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if _, err := file.Write(raw); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return file.CloseAtomicallyReplace()
}

// header is everything before the data: length, JSON, spaces up to a multiple of 8 bytes.
func header(dtype string, tensors []Tensor) ([]byte, error) {
	width := elementBytes[dtype]
	if width == 0 {
		return nil, fmt.Errorf("%w: expected the number type F32, F16 or BF16, found %q", ErrTensor, dtype)
	}
	var b strings.Builder
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	offset := int64(0)
	for i, t := range tensors {
		e := entry{DType: dtype, Shape: append([]int{}, t.Shape...), Offsets: [2]int64{offset, offset + width*int64(len(t.Data))}}
		if i > 0 && t.Name == tensors[i-1].Name {
			return nil, fmt.Errorf("%w: two tensors are named %s", ErrTensor, t.Name)
		}
		if e.size() != int64(len(t.Data)) {
			return nil, fmt.Errorf("%w %s: shape %v, %d numbers", ErrTensor, t.Name, t.Shape, len(t.Data))
		}
		name, err := json.Marshal(t.Name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(e)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&b, ",%s:%s", name, value)
		offset = e.Offsets[1]
	}
	b.WriteString("}")
	for b.Len()%8 != 0 {
		b.WriteByte(' ')
	}
	return append(binary.LittleEndian.AppendUint64(nil, uint64(b.Len())), b.String()...), nil
}

// TensorFile is a safetensors file in memory: its pages are read when they are first touched. A file that is too short
// for its header is refused when it is opened; one that is cut off while it is open ends the process, so files are
// replaced, never rewritten in place.
type TensorFile struct {
	path    string
	bytes   []byte // the whole file, mapped
	start   int64  // of the data section
	entries map[string]entry
}

// OpenTensors maps a safetensors file and checks its header against the file's size.
func OpenTensors(path string) (*TensorFile, error) {
	mapped, err := mapFile(path)
	if err != nil {
		return nil, err
	}
	f := &TensorFile{path: path, bytes: mapped}
	if err := f.readHeader(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrTensor, filepath.Base(path), err), f.Close())
	}
	return f, nil
}

// mapFile maps a file into memory, copy on write: the file never changes. An empty file has no mapping.
func mapFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // the mapping stays
	info, err := file.Stat()
	if err != nil || info.Size() == 0 {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > math.MaxInt {
		return nil, fmt.Errorf("%s: %d bytes, not a regular file that fits the address space", path, info.Size())
	}
	b, err := syscall.Mmap(int(file.Fd()), 0, int(info.Size()), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", path, err)
	}
	return b, nil
}

func (f *TensorFile) readHeader() error {
	if len(f.bytes) < 8 {
		return fmt.Errorf("header: expected at least 8 bytes, the file has %d", len(f.bytes))
	}
	n := int64(binary.LittleEndian.Uint64(f.bytes))
	if n < 2 || n > maxHeader || n+8 > int64(len(f.bytes)) {
		return fmt.Errorf("header: expected a length of 2 to %d bytes in a file of %d, found %d", min(maxHeader, len(f.bytes)-8), len(f.bytes), uint64(n))
	}
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal(f.bytes[8:8+n], &raw); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	delete(raw, "__metadata__")
	f.start, f.entries = n+8, make(map[string]entry, len(raw))
	for name, value := range raw {
		var e entry
		if err := json.Unmarshal(value, &e); err != nil {
			return fmt.Errorf("header of tensor %s: %w", name, err)
		}
		if err := f.check(e); err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		f.entries[name] = e
	}
	return nil
}

// check compares an entry's number type, shape and place with the file.
func (f *TensorFile) check(e entry) error {
	begin, end := e.Offsets[0], e.Offsets[1]
	if begin < 0 || end < begin || end > int64(len(f.bytes))-f.start {
		return fmt.Errorf("expected bytes %d to %d, file ends at %d (truncated?)", f.start+begin, f.start+end, len(f.bytes))
	}
	width, ok := elementBytes[e.DType]
	if ok && e.size()*width != end-begin {
		return fmt.Errorf("shape %v of %s does not fill its %d bytes", e.Shape, e.DType, end-begin)
	}
	return nil
}

// Names lists the tensors, ascending.
func (f *TensorFile) Names() []string { return slices.Sorted(maps.Keys(f.entries)) }

// Shape returns a tensor's shape and whether it is there.
func (f *TensorFile) Shape(name string) ([]int, bool) {
	e, ok := f.entries[name]
	return e.Shape, ok
}

// Check makes sure that a tensor is there, has the expected shape and a number type that can be read, and holds finite
// numbers only. What is wrong is ErrTensor, with file, tensor, expectation and finding.
func (f *TensorFile) Check(name string, shape []int) error {
	_, _, err := f.find(name, shape)
	return err
}

// Read returns a tensor of the expected shape as float32, in memory of its own. Errors are those of Check.
func (f *TensorFile) Read(name string, shape []int) ([]float32, error) {
	raw, dtype, err := f.find(name, shape)
	if err != nil {
		return nil, err
	}
	return widen(raw, dtype), nil
}

// View is Read without a copy where the file holds float32: the numbers are good until Close. Writing to them does not
// change the file.
func (f *TensorFile) View(name string, shape []int) ([]float32, error) {
	raw, dtype, err := f.find(name, shape)
	if err != nil {
		return nil, err
	}
	if at := unsafe.Pointer(unsafe.SliceData(raw)); dtype == "F32" && uintptr(at)%4 == 0 {
		return unsafe.Slice((*float32)(at), len(raw)/4), nil
	}
	return widen(raw, dtype), nil
}

// entry returns where a tensor is, if it has the expected shape and a number type that can be read.
func (f *TensorFile) entry(name string, shape []int) (entry, error) {
	e, ok := f.entries[name]
	switch {
	case !ok:
		return e, f.bad(name, "expected shape %v, found no such tensor", shape)
	case !slices.Equal(e.Shape, shape):
		return e, f.bad(name, "expected shape %v, found %v", shape, e.Shape)
	case elementBytes[e.DType] == 0:
		return e, f.bad(name, "expected F32, F16 or BF16, found %s", e.DType)
	}
	return e, nil
}

// bad says what is wrong with a tensor of this file.
func (f *TensorFile) bad(name, format string, args ...any) error {
	return fmt.Errorf("%w: %s: %s: %w", ErrTensor, filepath.Base(f.path), name, fmt.Errorf(format, args...))
}

// find returns a checked tensor's bytes and number type.
func (f *TensorFile) find(name string, shape []int) (raw []byte, dtype string, err error) {
	e, err := f.entry(name, shape)
	if err != nil {
		return nil, "", err
	}
	raw = f.bytes[f.start+e.Offsets[0] : f.start+e.Offsets[1]]
	if i := notFinite(raw, e.DType); i >= 0 {
		width := int(elementBytes[e.DType])
		return nil, "", f.bad(name, "expected finite numbers, found %v at element %d", widen(raw[i*width:][:width], e.DType)[0], i)
	}
	return raw, e.DType, nil
}

// Close gives the memory back: views must not be used any more.
func (f *TensorFile) Close() error {
	if f.bytes == nil {
		return nil
	}
	b := f.bytes
	f.bytes, f.entries = nil, nil
	return syscall.Munmap(b)
}

// exponents are the bits of a number that are all set when it is infinite or not a number.
var exponents = map[string]uint16{"BF16": 0x7f80, "F16": 0x7c00}

// notFinite returns the index of the first number that is NaN or infinite, -1 without one.
func notFinite(raw []byte, dtype string) int {
	if dtype == "F32" {
		for i := 0; i < len(raw); i += 4 {
			if binary.LittleEndian.Uint32(raw[i:])&0x7f800000 == 0x7f800000 {
				return i / 4
			}
		}
		return -1
	}
	all := exponents[dtype]
	for i := 0; i < len(raw); i += 2 {
		if binary.LittleEndian.Uint16(raw[i:])&all == all {
			return i / 2
		}
	}
	return -1
}

// widen turns little-endian numbers of the given type into float32.
func widen(raw []byte, dtype string) []float32 {
	data := make([]float32, int64(len(raw))/elementBytes[dtype])
	switch dtype {
	case "F32":
		copy(asBytes(data), raw)
	case "BF16":
		for i := range data {
			data[i] = math.Float32frombits(uint32(binary.LittleEndian.Uint16(raw[2*i:])) << 16)
		}
	case "F16":
		for i := range data {
			data[i] = half.ToFloat32(binary.LittleEndian.Uint16(raw[2*i:]))
		}
	}
	return data
}

// narrow is widen's inverse, rounding to the nearest number of the type.
func narrow(t Tensor, dtype string) ([]byte, error) {
	if dtype == "F32" {
		return asBytes(t.Data), nil
	}
	raw := make([]byte, 2*len(t.Data))
	for i, x := range t.Data {
		bits := uint16(bfloat16.FromFloat32(x))
		if dtype == "F16" {
			bits = half.FromFloat32(x)
		}
		if bits&exponents[dtype] == exponents[dtype] {
			return nil, fmt.Errorf("%w: %s: expected numbers within the range of %s, found %v at element %d", ErrTensor, t.Name, dtype, x, i)
		}
		binary.LittleEndian.PutUint16(raw[2*i:], bits)
	}
	return raw, nil
}

// asBytes is the memory of data: little-endian on every supported platform.
func asBytes(data []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data))
}
