package nn

import (
	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
)

// ComputeType is the type of activations, keys and values among them.
func (c Config) ComputeType() dtypes.DType {
	if c.Compute == dtypes.InvalidDType {
		return dtypes.Float32
	}
	return c.Compute
}

// StoredType is the type in which a network that is only run forward keeps a weight: matrices in the type of the products that
// they are operands of, so that nothing is left to convert (but see Wide); vectors (norms, biases), which are small, in float32.
func (c Config) StoredType(s TensorSpec) dtypes.DType {
	if len(s.Shape) == 2 && !c.Wide {
		return c.ComputeType()
	}
	return dtypes.Float32
}

// as converts x, where it has another type.
func as(x *Node, t dtypes.DType) *Node {
	if x.DType() == t {
		return x
	}
	return ConvertDType(x, t)
}

// dot is DotGeneral of operands of one type, with a result of another. Devices add products of bfloat16 up in float32; to
// ask for it by name would make GoMLX compute the gradient's products in float32, without the matrix units.
func dot(x *Node, xContract, xBatch []int, y *Node, yContract, yBatch []int, result dtypes.DType) *Node {
	if x.DType() == dtypes.Float32 {
		return DotGeneral(x, xContract, xBatch, y, yContract, yBatch)
	}
	return as(Dot(x, y).WithAccumulatorDType(x.DType()).WithOutputDType(result).General(xContract, xBatch, yContract, yBatch), result)
}
