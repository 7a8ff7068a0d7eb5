package report

import (
	"bytes"
	"fmt"
	"image/color"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"multiattempt/internal/evaluate"
)

// palette is Okabe and Ito's, told apart by most colour-blind readers; the first arm, usually the base, is grey.
var palette = []color.NRGBA{
	{0x6b, 0x6b, 0x6b, 0xff}, {0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff},
	{0x00, 0x9e, 0x73, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0xe6, 0x9f, 0x00, 0xff},
}

// ink and faint are the colours of axes and grid.
var (
	ink   = color.NRGBA{0x33, 0x33, 0x33, 0xff}
	faint = color.NRGBA{0xe4, 0xe4, 0xe4, 0xff}
)

const (
	figureWidth  = 6.4 * vg.Inch
	figureHeight = 3.8 * vg.Inch
)

// Figure draws accuracy by attempts on a set as SVG: a line an arm (of several seeds, their mean), its 95 % interval as a
// band, the task's optimum dashed when it is below 100 %. The empty name stands for the first set.
func (r *Report) Figure(set string) ([]byte, error) {
	p := newFigure("attempts k, told to the model", "% of problems solved")
	p.Y.Min, p.Y.Max = 0, 100
	p.Y.Tick.Marker = integerTicks([]int{0, 20, 40, 60, 80, 100})
	shown := set
	for i, arm := range r.Arms { // bands first: none hides a line
		s, ok := arm.Result.Set(set)
		if !ok {
			continue
		}
		shown = s.Name
		var low, high plotter.XYs
		for _, score := range arm.Group().Scores(s.Name) {
			low = append(low, plotter.XY{X: float64(score.Attempts), Y: 100 * score.Interval[0]})
			high = append(high, plotter.XY{X: float64(score.Attempts), Y: 100 * score.Interval[1]})
		}
		if err := addBand(p, low, high, armColor(i)); err != nil {
			return nil, fmt.Errorf("figure of %s: %w", shown, err)
		}
	}
	for i, arm := range r.Arms {
		s, ok := arm.Result.Set(set)
		if !ok {
			continue
		}
		var points plotter.XYs
		for _, score := range arm.Group().Scores(s.Name) {
			points = append(points, plotter.XY{X: float64(score.Attempts), Y: 100 * score.Accuracy})
		}
		if err := addLine(p, arm.Name, points, armColor(i), true); err != nil {
			return nil, fmt.Errorf("figure of %s: %w", shown, err)
		}
	}
	if err := r.addOptimum(p, shown); err != nil {
		return nil, fmt.Errorf("figure of %s: %w", shown, err)
	}
	p.Title.Text = shown
	p.X.Tick.Marker = integerTicks(r.attempts(set))
	return p.svg()
}

// addOptimum draws the best that any reader could do.
func (r *Report) addOptimum(p *figure, set string) error {
	optimum := r.optimum(set)
	if optimum == nil {
		return nil
	}
	var points plotter.XYs
	for _, k := range r.attempts(set) {
		points = append(points, plotter.XY{X: float64(k), Y: 100 * optimum[k]})
	}
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Width, line.Color, line.Dashes = vg.Points(1), ink, []vg.Length{vg.Points(5), vg.Points(3)}
	p.Add(line)
	p.legend.Add("optimum", line)
	return nil
}

// Curve names one of the learning curves.
type Curve struct {
	Label string
	value func(Point) float64
}

// The learning curves.
var (
	RewardCurve   = Curve{"reward, mean per episode", func(p Point) float64 { return p.Reward }}
	AccuracyCurve = Curve{"% of training episodes solved", func(p Point) float64 { return 100 * p.Accuracy }}
)

// LearningCurve draws a curve of every arm that was trained as SVG; nil when none was.
func (r *Report) LearningCurve(c Curve) ([]byte, error) {
	p := newFigure("iteration", c.Label)
	trained := false
	for i, arm := range r.Arms {
		if len(arm.Curve) == 0 {
			continue
		}
		trained = true
		points := make(plotter.XYs, len(arm.Curve))
		for j, point := range arm.Curve {
			points[j] = plotter.XY{X: float64(point.Step), Y: c.value(point)}
		}
		if err := addLine(p, arm.Name, points, armColor(i), false); err != nil {
			return nil, fmt.Errorf("curve of %s: %w", c.Label, err)
		}
	}
	if !trained {
		return nil, nil
	}
	return p.svg()
}

// FigureOf draws one result alone.
func FigureOf(name string, result *evaluate.Result, set string) ([]byte, error) {
	return (&Report{Arms: []Arm{{Name: name, Result: result}}}).Figure(set)
}

func armColor(i int) color.NRGBA { return palette[i%len(palette)] }

// figure is a plot with its legend beside it, where no line can run through it.
type figure struct {
	*plot.Plot
	legend plot.Legend
}

// newFigure returns an empty figure in the house style.
func newFigure(x, y string) *figure {
	f := &figure{Plot: plot.New(), legend: plot.NewLegend()}
	face := font.Font{Typeface: "Liberation", Variant: "Sans"}
	f.Title.TextStyle.Font, f.Title.TextStyle.Color = font.From(face, 13), ink
	f.Title.Padding = vg.Points(6)
	for _, axis := range []*plot.Axis{&f.X, &f.Y} {
		axis.Color, axis.Label.TextStyle.Color, axis.Tick.Color, axis.Tick.Label.Color = ink, ink, ink, ink
		axis.Label.TextStyle.Font = font.From(face, 11)
		axis.Tick.Label.Font = font.From(face, 10)
		axis.Label.Padding = vg.Points(4)
	}
	f.X.Label.Text, f.Y.Label.Text = x, y
	f.legend.TextStyle.Font, f.legend.TextStyle.Color = font.From(face, 11), ink
	f.legend.Top, f.legend.Left, f.legend.Padding, f.legend.ThumbnailWidth = true, true, vg.Points(3), vg.Points(22)
	f.legend.YOffs = -vg.Points(24)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = faint, faint
	f.Add(grid)
	return f
}

// svg renders the figure.
func (f *figure) svg() ([]byte, error) {
	const margin = 6 // points
	canvas := vgsvg.New(figureWidth, figureHeight)
	whole := draw.Crop(draw.New(canvas), margin, -margin, margin, -margin)
	legend := f.legend.Rectangle(whole).Size().X * 1.15 // a reader's font may be wider than the one measured with
	f.legend.Draw(draw.Crop(whole, whole.Size().X-legend, 0, 0, 0))
	f.Draw(draw.Crop(whole, 0, -(legend + 2*margin), 0, 0))
	var b bytes.Buffer
	if _, err := canvas.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("render figure: %w", err)
	}
	// The library names only the font it measured with; a reader that lacks it takes the next.
	named, others := []byte("font-family:Liberation Sans;"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif;")
	return bytes.ReplaceAll(b.Bytes(), named, others), nil
}

// addBand fills the area between two lines.
func addBand(p *figure, low, high plotter.XYs, c color.NRGBA) error {
	outline := append(plotter.XYs{}, low...)
	for i := len(high) - 1; i >= 0; i-- {
		outline = append(outline, high[i])
	}
	band, err := plotter.NewPolygon(outline)
	if err != nil {
		return err
	}
	c.A = 0x26
	band.Color, band.LineStyle.Width = c, 0
	p.Add(band)
	return nil
}

// addLine draws a line, with a dot at each point when dots is set, and names it in the legend.
func addLine(p *figure, name string, points plotter.XYs, c color.NRGBA, dots bool) error {
	line, err := plotter.NewLine(points)
	if err != nil {
		return err
	}
	line.Color, line.Width = c, vg.Points(1.8)
	p.Add(line)
	thumbnails := []plot.Thumbnailer{line}
	if dots {
		scatter, err := plotter.NewScatter(points)
		if err != nil {
			return err
		}
		scatter.GlyphStyle = draw.GlyphStyle{Color: c, Radius: vg.Points(2.6), Shape: draw.CircleGlyph{}}
		p.Add(scatter)
		thumbnails = append(thumbnails, scatter)
	}
	p.legend.Add(name, thumbnails...)
	return nil
}

// integerTicks marks and labels each of the numbers.
func integerTicks(ks []int) plot.ConstantTicks {
	ticks := make(plot.ConstantTicks, len(ks))
	for i, k := range ks {
		ticks[i] = plot.Tick{Value: float64(k), Label: strconv.Itoa(k)}
	}
	return ticks
}
