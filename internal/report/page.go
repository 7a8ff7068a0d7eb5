package report

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"regexp"
)

//go:embed page.html.tmpl
var pageSource string

// page is parsed once; it is read only. Everything that is not already HTML is escaped by html/template.
var page = template.Must(template.New("report").Parse(pageSource))

// pageData is what the template shows.
type pageData struct {
	*Report
	Minutes string
	Tables  []Table
	Details Table
	Figures []drawing
	Curves  []drawing
	Specs   []namedSpec
}

// drawing is an SVG that was made here, put into the page as it is.
type drawing struct {
	Label string
	SVG   template.HTML
}

type namedSpec struct{ Name, JSON string }

// WriteHTML writes the report as one page that needs nothing from outside: tables, figures, learning curves, example
// dialogues and the resolved specs.
func (r *Report) WriteHTML(w io.Writer) error {
	data := pageData{Report: r, Tables: r.Tables(), Details: r.Details(), Minutes: fmt.Sprintf("%.1f", r.Seconds/60)}
	for _, set := range r.sets() {
		svg, err := r.Figure(set)
		if err != nil {
			return err
		}
		data.Figures = append(data.Figures, inline("Accuracy by attempts on "+set, svg))
	}
	for _, curve := range []Curve{RewardCurve, AccuracyCurve} {
		svg, err := r.LearningCurve(curve)
		if err != nil {
			return err
		}
		if svg != nil {
			data.Curves = append(data.Curves, inline(curve.Label, svg))
		}
	}
	for _, arm := range r.Arms {
		if len(arm.Spec) == 0 {
			continue
		}
		var pretty bytes.Buffer
		if err := json.Indent(&pretty, arm.Spec, "", "  "); err != nil {
			return fmt.Errorf("report: spec of %s: %w", arm.Name, err)
		}
		data.Specs = append(data.Specs, namedSpec{Name: arm.Name, JSON: pretty.String()})
	}
	if err := page.Execute(w, data); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// fixedSize is the size that a stand-alone SVG gives itself; in the page its viewBox and the style sheet decide.
var fixedSize = regexp.MustCompile(`<svg width="[^"]*" height="[^"]*"`)

// inline makes an SVG document part of a page.
func inline(label string, svg []byte) drawing {
	if at := bytes.Index(svg, []byte("<svg")); at >= 0 {
		svg = svg[at:] // without XML declaration and comments
	}
	named := `<svg role="img" aria-label="` + template.HTMLEscapeString(label) + `"`
	return drawing{Label: label, SVG: template.HTML(fixedSize.ReplaceAll(svg, []byte(named)))}
}
