// Package half converts numbers of single precision to IEEE 754 half precision (binary16) and back.
package half

import "math"

// FromFloat32 rounds to the nearest half-precision number, ties to even; what is too large becomes infinite.
func FromFloat32(x float32) uint16 {
	b := math.Float32bits(x)
	sign := uint16(b>>16) & 0x8000
	exponent, fraction := int(b>>23&0xff)-127+15, b&0x7fffff
	switch {
	case b&0x7fffffff > 0x7f800000: // not a number
		return sign | 0x7e00
	case exponent >= 31:
		return sign | 0x7c00
	case exponent <= 0:
		if exponent < -10 {
			return sign
		}
		fraction |= 0x800000
		shift := uint(14 - exponent)
		half := fraction >> shift
		if rest := fraction & (1<<shift - 1); rest > 1<<(shift-1) || rest == 1<<(shift-1) && half&1 == 1 {
			half++
		}
		return sign | uint16(half)
	}
	half := uint32(exponent)<<10 | fraction>>13
	if rest := fraction & 0x1fff; rest > 0x1000 || rest == 0x1000 && half&1 == 1 {
		half++ // may carry into the exponent, which is right
	}
	return sign | uint16(half)
}

// ToFloat32 is exact: every half-precision number is one of single precision.
func ToFloat32(h uint16) float32 {
	sign := uint32(h&0x8000) << 16
	exponent, fraction := uint32(h>>10&0x1f), uint32(h&0x3ff)
	switch exponent {
	case 31:
		return math.Float32frombits(sign | 0x7f800000 | fraction<<13)
	case 0:
		x := float32(fraction) / (1 << 24)
		if sign != 0 {
			return -x
		}
		return x
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
