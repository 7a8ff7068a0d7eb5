package engine

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unsafe"

	"github.com/gomlx/compute/dtypes/float16"
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
// give equal bytes.
func WriteTensors(path string, tensors []Tensor) (err error) {
	tensors = slices.Clone(tensors)
	slices.SortFunc(tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	head, err := header(tensors)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := file.Write(head); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	for _, t := range tensors {
		if _, err := file.Write(asBytes(t.Data)); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	return nil
}

// header is everything before the data: length, JSON, spaces up to a multiple of 8 bytes.
func header(tensors []Tensor) ([]byte, error) {
	var b strings.Builder
	b.WriteString(`{"__metadata__":{"format":"pt"}`)
	offset := int64(0)
	for i, t := range tensors {
		e := entry{DType: "F32", Shape: append([]int{}, t.Shape...), Offsets: [2]int64{offset, offset + 4*int64(len(t.Data))}}
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

// TensorFile is an open safetensors file. Tensors are read one by one: a truncated file is an error, never a fault.
type TensorFile struct {
	path    string
	file    *os.File
	start   int64 // of the data section
	entries map[string]entry
}

// OpenTensors opens a safetensors file and checks its header against the file's size.
func OpenTensors(path string) (*TensorFile, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	f := &TensorFile{path: path, file: file}
	if err := f.readHeader(); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s: %w", ErrTensor, filepath.Base(path), err), file.Close())
	}
	return f, nil
}

func (f *TensorFile) readHeader() error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	var length [8]byte
	if _, err := f.file.ReadAt(length[:], 0); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	n := int64(binary.LittleEndian.Uint64(length[:]))
	if n < 2 || n > maxHeader || n+8 > info.Size() {
		return fmt.Errorf("header of %d bytes in a file of %d bytes", uint64(n), info.Size())
	}
	text := make([]byte, n)
	if _, err := f.file.ReadAt(text, 8); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal(text, &raw); err != nil {
		return fmt.Errorf("header: %w", err)
	}
	delete(raw, "__metadata__")
	f.start, f.entries = n+8, make(map[string]entry, len(raw))
	for name, value := range raw {
		var e entry
		if err := json.Unmarshal(value, &e); err != nil {
			return fmt.Errorf("header of tensor %s: %w", name, err)
		}
		if err := f.check(e, info.Size()); err != nil {
			return fmt.Errorf("tensor %s: %w", name, err)
		}
		f.entries[name] = e
	}
	return nil
}

// check compares an entry's number type, shape and place in a file of that many bytes.
func (f *TensorFile) check(e entry, fileSize int64) error {
	begin, end := e.Offsets[0], e.Offsets[1]
	if begin < 0 || end < begin || f.start+end > fileSize {
		return fmt.Errorf("expected bytes %d to %d, file ends at %d (truncated?)", f.start+begin, f.start+end, fileSize)
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

// Read returns a tensor of the expected shape as float32. Missing, misshapen, unreadable or non-finite tensors are
// ErrTensor, with file, tensor, expectation and finding.
func (f *TensorFile) Read(name string, shape []int) ([]float32, error) {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s: %s: %w", ErrTensor, filepath.Base(f.path), name, fmt.Errorf(format, args...))
	}
	e, ok := f.entries[name]
	if !ok {
		return nil, bad("expected shape %v, found no such tensor", shape)
	}
	if !slices.Equal(e.Shape, shape) {
		return nil, bad("expected shape %v, found %v", shape, e.Shape)
	}
	if elementBytes[e.DType] == 0 {
		return nil, bad("expected F32, F16 or BF16, found %s", e.DType)
	}
	data := make([]float32, e.size())
	if err := readFloats(io.NewSectionReader(f.file, f.start+e.Offsets[0], e.Offsets[1]-e.Offsets[0]), e.DType, data); err != nil {
		return nil, bad("%w", err)
	}
	for i, x := range data {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, bad("expected finite numbers, found %v at element %d", x, i)
		}
	}
	return data, nil
}

// Close closes the file.
func (f *TensorFile) Close() error { return f.file.Close() }

// readFloats fills data with little-endian numbers of the given type.
func readFloats(r io.Reader, dtype string, data []float32) error {
	if dtype == "F32" {
		_, err := io.ReadFull(r, asBytes(data))
		return err
	}
	half := make([]byte, 2*len(data))
	if _, err := io.ReadFull(r, half); err != nil {
		return err
	}
	for i := range data {
		bits := binary.LittleEndian.Uint16(half[2*i:])
		if dtype == "BF16" {
			data[i] = math.Float32frombits(uint32(bits) << 16)
		} else {
			data[i] = float16.FromBits(bits).Float32()
		}
	}
	return nil
}

// asBytes is the memory of data: little-endian on every supported platform.
func asBytes(data []float32) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(data))), 4*len(data))
}
