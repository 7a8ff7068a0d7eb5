package verify

import (
	"strings"
	"unicode"
)

// plainUnicode rewrites the mathematical characters of Unicode as LaTeX. A run of raised or lowered
// characters becomes one exponent or index.
func plainUnicode(s string) string {
	var b strings.Builder
	b.Grow(len(s) + 16)
	var run byte // '^' or '_' while such a run is open
	script := func(mark byte, r rune) {
		if run != mark {
			if run != 0 {
				b.WriteByte('}')
			}
			b.WriteByte(mark)
			b.WriteByte('{')
			run = mark
		}
		b.WriteRune(r)
	}
	for _, r := range s {
		if c := superscripts[r]; c != 0 {
			script('^', c)
			continue
		}
		if c := subscripts[r]; c != 0 {
			script('_', c)
			continue
		}
		if run != 0 {
			b.WriteByte('}')
			run = 0
		}
		switch {
		case unicodeLaTeX[r] != "":
			b.WriteString(unicodeLaTeX[r])
		case 0xFF01 <= r && r <= 0xFF5E: // full-width forms of ASCII
			b.WriteRune(r - 0xFEE0)
		case unicode.IsSpace(r) && r >= 0x80:
			b.WriteByte(' ')
		case unicode.Is(unicode.Cf, r): // zero-width marks
		default:
			b.WriteRune(r)
		}
	}
	if run != 0 {
		b.WriteByte('}')
	}
	return b.String()
}

var (
	superscripts = runePairs("⁰0¹1²2³3⁴4⁵5⁶6⁷7⁸8⁹9⁺+⁻-⁽(⁾)ⁿnⁱi")
	subscripts   = runePairs("₀0₁1₂2₃3₄4₅5₆6₇7₈8₉9₊+₋-ₙnₓx")
	unicodeLaTeX = map[rune]string{
		'−': "-", '–': "-", '—': "-", '‐': "-", '‑': "-", '×': `\times `, '·': `\cdot `, '⋅': `\cdot `, '∙': `\cdot `,
		'•': `\cdot `, '∗': "*", '÷': `\div `, '∕': "/", '⁄': "/", 'π': `\pi `, '𝜋': `\pi `, '√': `\sqrt `, '∛': `\sqrt[3] `,
		'∜': `\sqrt[4] `, '≤': `\le `, '≥': `\ge `, '⩽': `\le `, '⩾': `\ge `, '≠': `\ne `, '≈': `\approx `, '≅': `\approx `,
		'≃': `\approx `, '∼': `\sim `, '≡': `\equiv `, '∞': `\infty `, '°': `^\circ `, 'º': `^\circ `, '˚': `^\circ `,
		'±': `\pm `, '∓': `\mp `, '∪': `\cup `, '∩': `\cap `, '∈': `\in `, '∉': `\notin `, '∅': `\emptyset `,
		'∖': `\setminus `, '½': `\frac{1}{2}`, '⅓': `\frac{1}{3}`, '⅔': `\frac{2}{3}`, '¼': `\frac{1}{4}`,
		'¾': `\frac{3}{4}`, '⅕': `\frac{1}{5}`, '⅛': `\frac{1}{8}`, '⅜': `\frac{3}{8}`, '⅝': `\frac{5}{8}`,
		'⅙': `\frac{1}{6}`, '⅚': `\frac{5}{6}`, '′': "'", '″': "''", '’': "'", '‘': "'", '“': `"`, '”': `"`, '´': "'",
		'，': ",", '。': ".", '、': ",", '；': ";", '：': ":", 'ℝ': `\mathbb{R}`, 'ℤ': `\mathbb{Z}`, 'ℚ': `\mathbb{Q}`,
		'ℕ': `\mathbb{N}`, 'ℂ': `\mathbb{C}`, '€': " ", '£': " ", '¥': " ", '￥': " ", 'ℓ': `\ell `, '⟨': `\langle `, '⟩': `\rangle `, '〈': `\langle `, '〉': `\rangle `,
		'⌊': `\lfloor `, '⌋': `\rfloor `, '⌈': `\lceil `, '⌉': `\rceil `, '→': `\to `, '⇒': `\implies `, '∠': `\angle `,
		'△': `\triangle `, '…': `...`, '∑': `\sum `, '∏': `\prod `, '∫': `\int `, '∂': `\partial `, 'ℏ': `\hbar `,
		'∧': `\land `, '∨': `\lor `, '∣': "|", '∥': `\|`,
		'α': `\alpha `, 'β': `\beta `, 'γ': `\gamma `, 'δ': `\delta `, 'ε': `\epsilon `, 'ϵ': `\epsilon `, 'ζ': `\zeta `,
		'η': `\eta `, 'θ': `\theta `, 'ϑ': `\theta `, 'κ': `\kappa `, 'λ': `\lambda `, 'μ': `\mu `, 'µ': `\mu `, 'ν': `\nu `,
		'ξ': `\xi `, 'ρ': `\rho `, 'σ': `\sigma `, 'τ': `\tau `, 'φ': `\phi `, 'ϕ': `\phi `, 'χ': `\chi `, 'ψ': `\psi `,
		'ω': `\omega `, 'Γ': `\Gamma `, 'Δ': `\Delta `, 'Θ': `\Theta `, 'Λ': `\Lambda `, 'Ξ': `\Xi `, 'Π': `\Pi `,
		'Σ': `\Sigma `, 'Φ': `\Phi `, 'Ψ': `\Psi `, 'Ω': `\Omega `,
	}
)

func runePairs(s string) map[rune]rune {
	m := map[rune]rune{}
	r := []rune(s)
	for i := 0; i+1 < len(r); i += 2 {
		m[r[i]] = r[i+1]
	}
	return m
}
