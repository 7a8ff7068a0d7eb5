package verify

import "strings"

// command reads a control sequence.
func (l *lexer) command() error {
	l.i++
	if l.i >= len(l.s) {
		return nil // a lone backslash at the end
	}
	c := l.s[l.i]
	if !isLetter(c) {
		l.i++
		l.symbolCommand(c)
		return nil
	}
	start := l.i
	for l.i < len(l.s) && isLetter(l.s[l.i]) {
		l.i++
	}
	name := l.s[start:l.i]
	if l.style == texStyle {
		name = l.knownPrefix(name) // an unknown name gets no meaning, so the parser refuses it
	}
	switch {
	case textCommands[name]:
		content, ok := l.group()
		if !ok {
			return errSyntax
		}
		l.text(content)
	case romanCommands[name]:
		return l.roman()
	case alphabetCommands[name]:
		return l.alphabet(name)
	case name == "begin" || name == "end":
		env, ok := l.group()
		if !ok {
			return errSyntax
		}
		l.emit(tCmd, name+" "+strings.TrimSuffix(strings.TrimSpace(env), "*"))
	case name == "left" || name == "right":
		l.delimiter(name)
	case name == "hspace" || name == "phantom" || name == "label" || name == "tag":
		l.group()
		l.spaced = true
	case silentCommands[name]:
		l.spaced = true
	default:
		l.named(name)
	}
	return nil
}

// knownPrefix cuts a control sequence that ran into the letters after it, as in \sinx, to the longest known
// name, and goes back to the rest.
func (l *lexer) knownPrefix(name string) string {
	for n := len(name); n > 1; n-- {
		head := name[:n]
		if head == "tbinom" || head == "dbinom" {
			break
		}
		if _, ok := commandPunct[head]; ok || texNames[head] || greek[head] || silentCommands[head] ||
			head == "text" || romanCommands[head] || alphabetCommands[head] {
			l.i -= len(name) - n
			return head
		}
	}
	return "?" + name
}

// named emits a control sequence under its canonical name.
func (l *lexer) named(name string) {
	if p, ok := commandPunct[name]; ok {
		switch p {
		case "(", "[", `\{`:
			l.depth++
		case ")", "]", `\}`:
			l.depth = max(0, l.depth-1)
		}
		l.emit(tPunct, p)
		return
	}
	if alias, ok := commandAlias[name]; ok {
		name = alias
	}
	if greek[name] {
		l.emit(tLetter, name)
		return
	}
	l.emit(tCmd, name)
}

// symbolCommand reads a control sequence of one character that is not a letter.
func (l *lexer) symbolCommand(c byte) {
	switch c {
	case '{':
		l.depth++
		l.emit(tPunct, `\{`)
	case '}':
		l.depth = max(0, l.depth-1)
		l.emit(tPunct, `\}`)
	case '\\':
		l.emit(tPunct, `\\`)
	case '%':
		l.emit(tPunct, "%")
	case '$':
		l.emit(tPunct, `\$`)
	case '|':
		l.emit(tPunct, "||")
	case '&', '#', '_':
		l.emit(tPunct, "&")
	default: // \, \; \! \( and the like
		l.spaced = true
	}
}

// delimiter reads what follows \left or \right. Bars keep their direction.
func (l *lexer) delimiter(side string) {
	r := strings.TrimLeft(l.rest(), " ")
	switch {
	case strings.HasPrefix(r, "."):
		l.i = len(l.s) - len(r) + 1
	case strings.HasPrefix(r, "|"):
		l.i = len(l.s) - len(r) + 1
		l.emit(tPunct, map[string]string{"left": "|(", "right": "|)"}[side])
	default:
		l.spaced = l.spaced || r != l.rest()
	}
}

// group reads {…} at the current position and returns its contents.
func (l *lexer) group() (content string, ok bool) {
	for l.i < len(l.s) && isSpace(l.s[l.i]) {
		l.i++
	}
	if l.i >= len(l.s) || l.s[l.i] != '{' {
		return "", false
	}
	depth := 0
	for j := l.i; j < len(l.s); j++ {
		switch l.s[j] {
		case '\\':
			j++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				content = l.s[l.i+1 : j]
				l.i = j + 1
				return content, true
			}
		}
	}
	return "", false
}

// text emits the contents of \text{…}: a conjunction, a text, or nothing.
func (l *lexer) text(content string) {
	word := strings.TrimSpace(strings.NewReplacer("~", " ", `\ `, " ", `\,`, " ", `\;`, " ", "$", "", `\quad`, " ").Replace(content))
	switch strings.Trim(strings.ToLower(word), " ,") {
	case "":
		if strings.Contains(content, ",") {
			l.emit(tPunct, ",")
		}
		l.spaced = true
	case "and", "or":
		l.emit(tCmd, strings.Trim(strings.ToLower(word), " ,"))
	default:
		l.emit(tText, word)
	}
}

// roman reads \mathrm{…} and \operatorname{…}: upright letters, which may be a unit, a function's name or a
// variable. Other contents are read as if the command were not there.
func (l *lexer) roman() error {
	start := l.i
	content, ok := l.group()
	if !ok && l.opensGroup() {
		return errSyntax
	}
	content = strings.TrimSpace(strings.NewReplacer("~", " ", `\,`, " ", `\ `, " ", `\;`, " ").Replace(content))
	if ok && len(l.out) > 0 && strings.ContainsAny(content, "/^") && isKnownUnit(content) {
		l.emit(tText, content)
		return nil
	}
	if !ok || content == "" || strings.Trim(content, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ ") != "" {
		l.i = start
		return nil
	}
	if known, ok := plainNames[content]; ok && len(content) > 1 {
		l.emit(tCmd, known)
		return nil
	}
	l.emit(tRoman, content)
	return nil
}

// opensGroup reports whether a brace follows.
func (l *lexer) opensGroup() bool { return strings.HasPrefix(strings.TrimLeft(l.rest(), " "), "{") }

// alphabet reads \mathbf{x}, \mathcal{F} and the like: a letter of another alphabet. Bold letters are the
// same as plain ones, except i, j and k, which are unit vectors.
func (l *lexer) alphabet(name string) error {
	start := l.i
	content, ok := l.group()
	if !ok && l.opensGroup() {
		return errSyntax
	}
	content = strings.TrimSpace(content)
	if !ok && l.i < len(l.s) && isLetter(l.s[l.i]) {
		content, ok = l.s[l.i:l.i+1], true
		l.i++
	}
	switch {
	case !ok || len(content) != 1 || !isLetter(content[0]):
		if ok && name != "mathbb" {
			l.i = start
		}
	case name == "mathbb" && strings.Contains("RZQNC", content):
		l.emit(tCmd, "bb"+content)
	case name == "mathbb" || name == "mathcal" || name == "mathfrak" || name == "mathscr":
		l.emit(tLetter, name+" "+content)
	case strings.Contains("ijk", content):
		l.emit(tLetter, "vec "+content)
	default:
		l.emit(tLetter, content)
	}
	return nil
}

func nameSet(names string) map[string]bool {
	m := map[string]bool{}
	for _, n := range strings.Fields(names) {
		m[n] = true
	}
	return m
}

func namePairs(pairs string) map[string]string {
	m := map[string]string{}
	f := strings.Fields(pairs)
	for i := 0; i+1 < len(f); i += 2 {
		m[f[i]] = f[i+1]
	}
	return m
}

var (
	textCommands     = nameSet("text textbf textit textnormal textrm textsf texttt textsc textup mbox hbox emph mathtt")
	romanCommands    = nameSet("mathrm operatorname mathop rm")
	alphabetCommands = nameSet("mathbf boldsymbol bm mathbb mathcal mathfrak mathscr mathit mathsf")
	silentCommands   = nameSet(`quad qquad thinspace medspace thickspace enspace negthinspace displaystyle textstyle
		scriptstyle limits nolimits big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr hfill noindent
		mathstrut strut boxed fbox ensuremath bf it tt large Large small normalsize middle nonumber underline mathopen mathclose
		hskip relax`)
	texNames = nameSet(`frac cfrac binom sqrt sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log exp pi infty
		sum prod lim int cup cap in notin begin end left right gcd lcm max min det mod circ degree emptyset hat bar
		overline tilde vec dot ddot pm mp hline`)
	greek = nameSet(`alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron rho sigma tau
		upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega hbar ell odot nabla
		partial aleph mho dag star bullet imath jmath Box triangle square diamond`)

	commandPunct = namePairs(`leq <= le <= leqslant <= leqq <= geq >= ge >= geqslant >= geqq >= neq != ne != lt < gt >
		approx ≈ simeq ≈ sim ≈ cong ≈ doteq ≈ equiv ≡ times * cdot * ast * cdotp * div / colon : pm ± mp ∓
		plusmn ± lbrace \{ rbrace \} lgroup ( rgroup ) lparen ( rparen ) lbrack [ rbrack ]
		langle ⟨ rangle ⟩ lvert |( rvert |) vert | Vert || lVert || rVert ||
		prime ' ldots ... cdots ... dots ... dotsc ... dotsb ... to to rightarrow to mapsto to percent %
		dollar \$ lfloor ⌊ rfloor ⌋ lceil ⌈ rceil ⌉`)

	commandAlias = namePairs(`dfrac frac tfrac frac cfrac frac sfrac frac dbinom binom tbinom binom
		varphi phi varepsilon epsilon vartheta theta varrho rho varsigma sigma varpi pi varnothing emptyset
		arcsinh arcsinh arsinh arcsinh arccosh arccosh arcosh arccosh arctanh arctanh artanh arctanh cosec csc ctg cot
		tg tan arctg arctan lg log10 degree degree land and wedge and lor or vee or backslash setminus smallsetminus setminus
		bigcup cup bigcap cap isin in infin infty R bbR Z bbZ Q bbQ N bbN C bbC reals bbR overrightarrow vec
		widehat hat widetilde tilde bmod mod operatornamewithlimits operatorname
		dddot dddot iff implies Rightarrow implies Leftrightarrow implies`)

	// plainNames are the names that are also read without a backslash.
	plainNames = namePairs(`sqrt sqrt cbrt cbrt sin sin cos cos tan tan cot cot sec sec csc csc arcsin arcsin
		arccos arccos arctan arctan arccot arccot arcsec arcsec arccsc arccsc asin arcsin acos arccos atan arctan
		sinh sinh cosh cosh tanh tanh coth coth sech sech csch csch asinh arcsinh acosh arccosh atanh arctanh
		arcsinh arcsinh arsinh arcsinh arccosh arccosh arctanh arctanh artanh arctanh
		ln ln log log lg log10 exp exp pi pi Pi pi infty infty infinity infty inf infty oo infty abs abs floor floor
		ceil ceil ceiling ceil gcd gcd lcm lcm max max min min mod mod det det sgn sgn sign sgn binomial binom binom binom
		factorial factorial and and or or in in frac frac union cup pm pm Re Re Im Im arg arg choose choose`)
)
