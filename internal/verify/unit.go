package verify

import (
	"math/big"
	"sort"
	"strconv"
	"strings"
)

// unit is what a number counts or measures.
type unit struct {
	dims    string   // the dimensions in canonical form, such as "length2" or "length time-1"; "" if unknown
	factor  *big.Rat // the size in the base unit of the dimensions
	scale   *big.Rat // a multiplier in words, such as a million; nil for 1
	label   string   // the words as written
	percent bool     // the words mean per cent
}

// unitDef defines a unit by its dimension and its size.
type unitDef struct {
	dim    string
	power  int
	factor *big.Rat
}

var dollars = unit{dims: "money1", factor: big.NewRat(1, 1), label: "dollar"}

// unitTable lists dimension, power, size in the base unit, and the names of each unit. Names are singular.
const unitTable = `
length 1 1 m meter metre
length 1 1/100 cm centimeter centimetre
length 1 1/1000 mm millimeter millimetre
length 1 1/10 dm decimeter
length 1 1000 km kilometer kilometre
length 1 127/5000 inch inches in
length 1 381/1250 ft foot feet
length 1 1143/1250 yd yard
length 1 201168/125 mi mile
mass 1 1 g gram gm
mass 1 1000 kg kilogram
mass 1 1/1000 mg milligram
mass 1 45359237/100000 lb pound
mass 1 45359237/1600000 oz ounce
mass 1 1000000 ton tonne
time 1 1 s sec second
time 1 60 min minute
time 1 3600 h hr hour
time 1 86400 day
time 1 604800 week
month 1 1 month
month 1 12 yr year
length 3 1/1000 L l liter litre
length 3 1/1000000 mL ml milliliter millilitre cc
gallon 1 1 gal gallon
gallon 1 1/4 qt quart
area 1 1 acre
area 1 1 hectare
money 1 1 dollar USD usd buck
money 1 1/100 cent penny pennies
euro 1 1 euro
yuan 1 1 yuan
angle 1 1 degree deg
radian 1 1 rad radian
force 1 1 N newton
energy 1 1 J joule
energy 1 1000 kJ kilojoule
power 1 1 W watt
current 1 1 A amp ampere
voltage 1 1 V volt
resistance 1 1 ohm
charge 1 1 C coulomb
temperature 1 1 K kelvin
celsius 1 1 celsius
fahrenheit 1 1 fahrenheit
pressure 1 1 Pa pascal
frequency 1 1 Hz hertz
amount 1 1 mol mole
morning 1 1 am
afternoon 1 1 pm
`

var units = buildUnits()

func buildUnits() map[string]unitDef {
	m := map[string]unitDef{}
	for _, line := range strings.Split(strings.TrimSpace(unitTable), "\n") {
		f := strings.Fields(line)
		power, _ := strconv.Atoi(f[1])
		size, _ := new(big.Rat).SetString(f[2])
		for _, name := range f[3:] {
			def := unitDef{dim: f[0], power: power, factor: size}
			m[name] = def
			if len(name) > 2 {
				m[name+"s"] = def
			}
		}
	}
	for name, pair := range map[string][2]string{"mph": {"mile", "hour"}, "kmh": {"km", "hour"}, "kph": {"km", "hour"}} {
		m[name] = unitDef{dim: "speed", power: 1, factor: new(big.Rat).Quo(m[pair[0]].factor, m[pair[1]].factor)}
	}
	return m
}

// neutralUnits are words that name a unit without saying which.
var neutralUnits = nameSet("unit units square squared cubic cubed sq cu")

// multipliers are words that multiply the number before them.
var multipliers = map[string]int64{
	"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000, "trillion": 1_000_000_000_000,
	"dozen": 12,
}

var percentWords = nameSet("percent pct percentage percents percent.")

// stopWords show that a text after a number is not the name of what it counts.
var stopWords = nameSet(`not no or and if when where for with but is are than then only per otherwise either neither
	half quarter third any all else wrong incorrect to from plus minus times over such that as at`)

// isUnit reports whether a word is in the closed list of units.
func isUnit(word string) bool {
	if _, ok := units[word]; ok {
		return true
	}
	lower := strings.ToLower(word)
	_, ok := units[lower]
	return ok && len(lower) > 2 || percentWords[lower] || multipliers[lower] != 0 || neutralUnits[lower]
}

// isKnownUnit reports whether s is made of known units only.
func isKnownUnit(s string) bool {
	u, ok := parseUnit(s)
	return ok && u.dims != ""
}

// parseUnit reads a unit such as "cm^2", "square inches", "km / h", "miles per hour", "million dollars". A
// text of up to four words that are no units is a label, which says nothing about the number.
func parseUnit(s string) (unit, bool) {
	u := unit{factor: big.NewRat(1, 1), label: strings.TrimSpace(s)}
	powers := map[string]int{}
	sign, next, last := 1, 1, ""
	fields := strings.Fields(strings.NewReplacer("p.m.", "pm", "a.m.", "am", "/", " per ", "·", " ", "*", " ", "^", " ^", ".", " ", "-", " -", "per cent", "percent").Replace(s))
	if len(fields) == 0 || len(fields) > 12 {
		return unit{}, false
	}
	labels, neutral := 0, false
	for _, w := range fields {
		lower := strings.ToLower(w)
		def, ok := units[w]
		if !ok && len(lower) > 2 {
			def, ok = units[lower]
		}
		switch {
		case ok:
			u.apply(def, powers, sign*next)
			last, next = w, 1
		case w[0] == '^':
			n, err := strconv.Atoi(strings.TrimPrefix(w, "^"))
			if err != nil || n == 0 || n < -4 || n > 4 || last == "" && !neutral {
				return unit{}, false
			}
			if last == "" {
				continue // units^2
			}
			u.apply(unitOf(last), powers, sign*(n-1))
		case lower == "per":
			sign = -1
		case lower == "square" || lower == "sq":
			next = 2
		case lower == "cubic" || lower == "cu":
			next = 3
		case lower == "squared" && last != "":
			u.apply(unitOf(last), powers, sign)
		case lower == "cubed" && last != "":
			u.apply(unitOf(last), powers, 2*sign)
		case percentWords[lower]:
			u.percent = true
		case multipliers[lower] != 0 && len(powers) == 0:
			u.scale = big.NewRat(multipliers[lower], 1)
		case neutralUnits[lower]:
			neutral, next = true, 1
		case stopWords[lower] || !isLetters(w) || len(w) < 2:
			return unit{}, false
		default:
			if labels++; labels > 4 {
				return unit{}, false
			}
		}
	}
	if u.percent && len(fields) > 1 {
		return unit{}, false
	}
	if labels == 0 {
		u.dims = dimensions(powers)
	}
	return u, true
}

func unitOf(w string) unitDef {
	if def, ok := units[w]; ok {
		return def
	}
	return units[strings.ToLower(w)]
}

// apply multiplies u by a unit to the power n.
func (u *unit) apply(def unitDef, powers map[string]int, n int) {
	dim, power := def.dim, def.power
	if dim == "speed" {
		powers["length"] += n
		powers["time"] -= n
	} else {
		powers[dim] += power * n
	}
	for ; n > 0; n-- {
		u.factor = new(big.Rat).Mul(u.factor, def.factor)
	}
	for ; n < 0; n++ {
		u.factor = new(big.Rat).Quo(u.factor, def.factor)
	}
}

func dimensions(powers map[string]int) string {
	var dims []string
	for d, p := range powers {
		if p != 0 {
			dims = append(dims, d+strconv.Itoa(p))
		}
	}
	sort.Strings(dims)
	return strings.Join(dims, " ")
}

func isLetters(s string) bool {
	for i := 0; i < len(s); i++ {
		if !isLetter(s[i]) && s[i] < 0x80 && s[i] != '\'' {
			return false
		}
	}
	return true
}

// unitAhead reports whether the tokens from here to the end of the item are a unit.
func (p *parser) unitAhead() bool {
	t := p.peek()
	if p.i == 0 {
		return false
	}
	switch t.kind {
	case tText:
		if len(t.s) == 1 && (!isUnit(t.s) || !p.numericSoFar()) {
			return false
		}
		if _, ok := parseUnit(t.s); !ok {
			return false
		}
	case tRoman:
		if !p.numericSoFar() || !isUnit(t.s) && len(t.s) < 4 {
			return false
		}
	case tWord:
		if !isUnit(t.s) && (len(t.s) < 4 || stopWords[strings.ToLower(t.s)] || !p.numericSoFar()) {
			return false
		}
	case tCmd:
		if t.s != "in" && t.s != "min" || !p.numericSoFar() || !p.endsItem(1) && !p.at(1).is("^") {
			return false
		}
	default:
		return false
	}
	return p.unitEnd() > 0
}

// unitEnd returns the number of tokens of the unit that begins here, 0 if other tokens follow it.
func (p *parser) unitEnd() int {
	depth := 0
	for k := 1; k < 16; k++ {
		t := p.at(k)
		switch {
		case t.is("{") && p.at(k-1).is("^"):
			depth++
		case t.is("}") && depth > 0:
			depth--
		case depth == 0 && p.endsItem(k):
			return k
		case t.is("^"), t.is("/"), t.is("*"), t.is("."), t.is("-") && depth > 0:
		case t.kind == tNum && (p.at(k-1).is("^") || depth > 0):
		case t.kind == tText, t.kind == tRoman && isUnit(t.s), t.kind == tWord:
		case t.kind == tLetter && isUnit(t.s) && (p.at(k-1).is("/") || p.at(k-1).is("*")):
		default:
			return 0
		}
	}
	return 0
}

// endsItem reports whether the token k ahead cannot belong to the item that is being read.
func (p *parser) endsItem(k int) bool {
	t := p.at(k)
	if t.kind == tEnd {
		return true
	}
	if t.kind != tPunct && t.kind != tCmd {
		return false
	}
	if _, ok := relations[t.s]; ok {
		return true
	}
	switch t.s {
	case ",", ";", ")", "]", "}", `\}`, `\\`, "&", "and", "or", ":":
		return true
	}
	return strings.HasPrefix(t.s, "end ")
}

// numericSoFar reports whether the item read so far holds no letters: it is a plain number.
func (p *parser) numericSoFar() bool {
	for k := p.i - 1; k >= 0 && k > p.i-maxDepth; k-- {
		switch t := p.t[k]; t.kind {
		case tLetter, tWord, tRoman, tText:
			return false
		case tPunct:
			if strings.Contains(",;=<>≈", t.s) {
				return p.i-1 > k
			}
		}
	}
	return true
}

// unit reads the unit of the number n, if one follows.
func (p *parser) unit(n *node) (unit, bool) {
	if !p.unitAhead() {
		return unit{}, false
	}
	width := p.unitEnd()
	var b strings.Builder
	for _, t := range p.t[p.i : p.i+width] {
		switch {
		case t.is("{") || t.is("}"):
			continue
		case t.kind == tNum || t.is("-"):
		default:
			b.WriteByte(' ')
		}
		b.WriteString(t.s)
	}
	u, ok := parseUnit(b.String())
	if ok {
		p.i += width
	}
	return u, ok
}
