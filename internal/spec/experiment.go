package spec

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
)

// Experiment is several training runs that belong together: every arm with every seed. As a document it is a run's, with
// three more keys: arms, seeds and parallel.
type Experiment struct {
	Seeds []uint64 `json:"seeds"` // one run of every arm for each; none: the settings' own seed
	Arms  []Arm    `json:"arms"`  // none: one arm, the settings as they are
	// Parallel is the number of runs that are under way at the same time. A learner holds the state of one run: more than
	// there are learners makes them load each other's states in turns.
	Parallel int `json:"parallel"`
	// Settings are what the arms have in common: fields of Run.
	Settings json.RawMessage `json:"-"`
}

// Arm is one variant of the settings. As a document it may be just its name.
type Arm struct {
	Name string `json:"name"`
	// Settings are fields of Run that differ. An arm without any is the preset PRESET-NAME where there is one; else "multi"
	// is the settings as they are, and "single" allows one attempt.
	Settings json.RawMessage `json:"settings,omitempty"`
}

// Member is one run of an experiment.
type Member struct {
	Arm      string          `json:"arm"`
	Seed     uint64          `json:"seed"`
	Run      string          `json:"run"`      // workflow id
	Settings json.RawMessage `json:"settings"` // what the user would write to start it alone
}

// The names of arms that need no preset.
const (
	ArmMulti  = "multi"
	ArmSingle = "single"
)

// Bounds of an experiment, whose runs all stand in one workflow's state, and whose settings travel in one payload.
const (
	maxMembers       = 200
	maxSettingsBytes = 20 << 10
)

// MarshalJSON writes the settings, and the experiment's own keys beside them.
func (e Experiment) MarshalJSON() ([]byte, error) {
	type own Experiment
	b, err := json.Marshal(own(e))
	if err != nil {
		return nil, err
	}
	return Merge(e.Settings, b)
}

// UnmarshalJSON reads what MarshalJSON or a user wrote.
func (e *Experiment) UnmarshalJSON(b []byte) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(b, &fields); err != nil {
		return fmt.Errorf("%w experiment: not a JSON object: %w", ErrInvalid, err)
	}
	*e = Experiment{Parallel: 1}
	var wrong []FieldError
	for _, key := range []struct {
		name, allowed string
		into          any
	}{
		{"seeds", "a list of whole numbers from 0 to 2⁶⁴−1", &e.Seeds},
		{"arms", "a list of names, or of objects with name and settings", &e.Arms},
		{"parallel", "a whole number", &e.Parallel},
	} {
		if raw, ok := fields[key.name]; ok && string(raw) != "null" {
			if err := json.Unmarshal(raw, key.into); err != nil {
				wrong = append(wrong, FieldError{Path: key.name, Value: raw, Allowed: key.allowed})
			}
		}
		delete(fields, key.name)
	}
	if len(wrong) > 0 {
		return invalid("experiment", wrong...)
	}
	var err error
	e.Settings, err = json.Marshal(fields)
	return err
}

// UnmarshalJSON reads an arm, or its name alone. A key that is neither is refused.
func (a *Arm) UnmarshalJSON(b []byte) error {
	*a = Arm{}
	if json.Unmarshal(b, &a.Name) == nil {
		return nil
	}
	type own Arm
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode((*own)(a))
}

// Members resolves and checks every run, and names them as Runs does. All that is wrong comes back together, as far as arms
// differ in it.
func (e Experiment) Members(id string, presets fs.FS) ([]Member, error) {
	planned, err := e.Plan(presets)
	if err != nil {
		return nil, err
	}
	return planned.Runs(id)
}

// Plan checks the settings of every run and returns the experiment with all that its runs need spelled out: every seed, and
// every arm with settings of its own.
func (e Experiment) Plan(presets fs.FS) (Experiment, error) {
	var wrong []error
	arms, err := e.arms(presets)
	if err != nil {
		wrong = append(wrong, err)
	}
	planned := Experiment{Seeds: e.Seeds, Arms: arms, Parallel: e.Parallel, Settings: e.Settings}
	if len(planned.Seeds) == 0 {
		run, err := Resolve(e.Settings, presets)
		if err != nil {
			return e, errors.Join(append(wrong, err)...)
		}
		planned.Seeds = []uint64{run.Seed}
	}
	var c checker
	c.between("parallel", e.Parallel, 1, maxMembers)
	c.between("arms × seeds", len(arms)*len(planned.Seeds), 1, maxMembers)
	for i, s := range planned.Seeds {
		c.want(!slices.Contains(planned.Seeds[:i], s), fmt.Sprintf("seeds[%d]", i), s, "each seed once")
	}
	bytes := len(e.Settings)
	for _, arm := range arms {
		bytes += len(arm.Settings)
	}
	c.want(bytes <= maxSettingsBytes, "settings, of all arms together", fmt.Sprintf("%d bytes", bytes),
		"at most %d bytes: put what arms have in common beside them, or into a preset", maxSettingsBytes)
	if err := c.err("experiment"); err != nil {
		wrong = append(wrong, err)
	}
	for _, arm := range arms { // a seed makes no difference
		settings, err := e.of(arm, 0)
		if err == nil {
			_, err = Resolve(settings, presets)
		}
		if err != nil {
			wrong = append(wrong, fmt.Errorf("arm %s: %w", arm.Name, err))
		}
	}
	return planned, errors.Join(wrong...)
}

// Runs lists the runs of what Plan returned, for every seed all arms, so that arms can be compared early.
func (e Experiment) Runs(id string) ([]Member, error) {
	members := make([]Member, 0, len(e.Seeds)*len(e.Arms))
	for _, seed := range e.Seeds {
		for _, arm := range e.Arms {
			settings, err := e.of(arm, seed)
			if err != nil {
				return nil, fmt.Errorf("arm %s: %w", arm.Name, err)
			}
			members = append(members, Member{Arm: arm.Name, Seed: seed, Run: MemberRun(id, arm.Name, seed), Settings: settings})
		}
	}
	return members, nil
}

// of is what a user would write to start the arm's run with a seed.
func (e Experiment) of(arm Arm, seed uint64) (json.RawMessage, error) {
	settings, err := Merge(e.Settings, arm.Settings)
	if err != nil {
		return nil, err
	}
	return Merge(settings, fmt.Appendf(nil, `{"seed":%d}`, seed))
}

// MemberRun is the name of an experiment's run.
func MemberRun(id, arm string, seed uint64) string { return fmt.Sprintf("%s-%s-seed%d", id, arm, seed) }

// arms returns the arms with settings of their own for those that are names alone.
func (e Experiment) arms(presets fs.FS) ([]Arm, error) {
	if len(e.Arms) == 0 {
		return []Arm{{Name: ArmMulti}}, nil
	}
	preset, err := presetOf("experiment", e.Settings)
	if err != nil {
		return nil, err
	}
	names, err := PresetNames(presets)
	if err != nil {
		return nil, err
	}
	var c checker
	arms := slices.Clone(e.Arms)
	for i, arm := range arms {
		path := fmt.Sprintf("arms[%d]", i)
		c.want(armName(arm.Name), path, arm.Name, "a name of letters, digits, dots and underscores, at most 40")
		c.want(!slices.ContainsFunc(arms[:i], func(b Arm) bool { return b.Name == arm.Name }), path, arm.Name, "each arm once")
		if len(arm.Settings) > 0 {
			continue
		}
		switch own := preset + "-" + arm.Name; {
		case preset != "" && slices.Contains(names, own):
			arms[i].Settings = fmt.Appendf(nil, `{"preset":%q}`, own)
		case arm.Name == ArmSingle:
			arms[i].Settings = json.RawMessage(`{"attempts":{"min":1,"max":1}}`)
		default:
			c.want(arm.Name == ArmMulti, path, arm.Name, "settings, as there is no preset %s; or multi or single", own)
		}
	}
	return arms, c.err("experiment")
}

// armName reports whether a name can be part of a run's.
func armName(name string) bool {
	for _, r := range name {
		if r != '.' && r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') {
			return false
		}
	}
	return name != "" && len(name) <= 40
}

// Merge returns the JSON object base with above's fields written over it, object by object; lists and values replace.
// Empty documents stand for {}. Numbers keep the digits they are written with.
func Merge(base, above []byte) ([]byte, error) {
	var trees [2]map[string]any
	for i, doc := range [][]byte{base, above} {
		if len(bytes.TrimSpace(doc)) == 0 {
			doc = []byte("{}")
		}
		if err := unmarshalExact(doc, &trees[i]); err != nil {
			return nil, fmt.Errorf("%w: not a JSON object: %w", ErrInvalid, err)
		}
	}
	if trees[0] == nil {
		trees[0] = map[string]any{}
	}
	mergeTree(trees[0], trees[1])
	return json.Marshal(trees[0])
}

// mergeTree comes to the same in whatever order it goes through the names, so workflows may call it.
//
//workflowcheck:ignore
func mergeTree(base, above map[string]any) {
	for name, v := range above {
		inner, isObject := v.(map[string]any)
		under, wasObject := base[name].(map[string]any)
		if isObject && wasObject {
			mergeTree(under, inner)
			continue
		}
		base[name] = v
	}
}
