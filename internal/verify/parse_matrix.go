package verify

import "strings"

// matrixEnvironments are the environments that hold a matrix; the value tells that it means a determinant.
var matrixEnvironments = map[string]bool{
	"matrix": false, "pmatrix": false, "bmatrix": false, "Bmatrix": false, "smallmatrix": false, "array": false,
	"cases": false, "vmatrix": true, "Vmatrix": true,
}

// matrix reads rows of cells up to the end of the environment.
func (p *parser) matrix(env string) *node {
	determinant, ok := matrixEnvironments[env]
	if !ok {
		p.fail()
	}
	if env == "array" && p.peek().is("{") {
		p.rawArgument()
	}
	bars := p.bars
	p.bars = 0
	m := &node{kind: kMatrix}
	if env == "cases" {
		m.name = "cases"
	}
	closing := "end " + env
	for !p.accept(closing) {
		cells := p.row(m.name == "cases")
		if m.rows == 0 {
			m.cols = len(cells)
		}
		if len(cells) != m.cols {
			p.fail()
		}
		m.kids = append(m.kids, cells...)
		m.rows++
		if len(m.kids) > maxCells {
			panic(parseStop{errLimit})
		}
		if !p.accept(`\\`) && !p.peek().is(closing) {
			p.fail()
		}
		p.accept("hline")
	}
	p.bars = bars
	if m.rows == 0 {
		p.fail()
	}
	if determinant {
		return p.determinant(m)
	}
	return m
}

// row reads cells separated by &. The conditions of a case distinction may begin with a word.
func (p *parser) row(cases bool) []*node {
	var cells []*node
	for {
		for cases && (p.peek().kind == tText && !strings.Contains(p.peek().s, "therwise") || p.peek().is(",")) {
			p.i++
		}
		cells = append(cells, p.item())
		for cases && p.accept(",") {
			continue
		}
		if len(cells) > maxCells {
			panic(parseStop{errLimit})
		}
		if !p.accept("&") {
			return cells
		}
	}
}

// determinant expands |m| along its first row.
func (p *parser) determinant(m *node) *node {
	if m.rows != m.cols || m.rows > 4 {
		p.fail()
	}
	return expandDeterminant(m.kids, m.rows)
}

func expandDeterminant(cells []*node, n int) *node {
	if n == 1 {
		return cells[0]
	}
	sum := op(kAdd)
	for col := 0; col < n; col++ {
		minor := make([]*node, 0, (n-1)*(n-1))
		for r := 1; r < n; r++ {
			for c := 0; c < n; c++ {
				if c != col {
					minor = append(minor, cells[r*n+c])
				}
			}
		}
		term := op(kMul, cells[col], expandDeterminant(minor, n-1))
		if col%2 == 1 {
			term = neg(term)
		}
		sum.kids = append(sum.kids, term)
	}
	return sum
}
