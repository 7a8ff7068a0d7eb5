package verify

import (
	"maps"
	"slices"
)

// rules explains every value of Verdict.Rule in a sentence. docs/grading.md gives examples.
var rules = map[string]string{
	"no_box":                 "the text has no \\boxed{…} or \\fbox{…}",
	"empty_box":              "the last box is empty",
	"unclosed_box":           "a box was opened and never closed: the answer was cut off",
	"answer_limit":           "an answer is longer, deeper or larger than the limits on parsing",
	"internal":               "the grader failed on this pair: a mistake of its own, please report it",
	"work_limit":             "the comparison reached its work limit before it was decided",
	"tokens":                 "the normalised tokens were compared: they are equal, or an answer could not be parsed",
	"identical":              "both sides are the same expression up to the order of sums and products",
	"exact":                  "both sides are rational numbers, compared exactly",
	"residues":               "both sides are rational expressions, compared modulo large primes at random points",
	"interval":               "both sides were evaluated with proven error bounds",
	"domain":                 "the prediction is not defined where the gold answer is",
	"undefined":              "a side has no value, such as 1/0",
	"structure":              "neither side has a value at any point tried; they were compared as written",
	"infinity":               "only ∞ equals ∞, and only -∞ equals -∞",
	"percent":                "exactly one side is in per cent, and they agree as 50% = 0.5",
	"gold_rounding":          "the gold answer is a decimal of at least 4 significant digits, and the exact prediction rounds to it",
	"pred_rounding":          "the prediction is a decimal of at least 5 significant digits to which the exact gold answer rounds",
	"unit_mismatch":          "the two sides have units of different kinds",
	"choice":                 "multiple-choice letters were compared",
	"text":                   "words were compared, without case, punctuation and article",
	"base":                   "numerals in a base were compared: digits and base must agree",
	"ratio":                  "ratios were compared up to a common factor",
	"time":                   "times of day were compared part by part",
	"list":                   "the items were compared in any order, each as often as it occurs",
	"list_length":            "the two sides hold different numbers of items",
	"assignments":            "values given to several names were compared",
	"assignments_length":     "the two sides give values to different numbers of names",
	"tuple":                  "the coordinates were compared in order",
	"tuple_length":           "the two sides have different numbers of coordinates",
	"interval_ends":          "the ends of two intervals were compared",
	"interval_ends_length":   "an interval has two ends",
	"brackets":               "the brackets differ: open and closed ends, points, intervals and sets are told apart",
	"vector":                 "a row, a column or a tuple was compared entry by entry",
	"vector_length":          "the two vectors have different lengths",
	"matrix":                 "the matrices were compared entry by entry",
	"shape":                  "the two matrices have different shapes",
	"union":                  "the parts of two unions were compared in any order",
	"union_length":           "the two unions have different numbers of parts",
	"real_set":               "sets of real numbers were compared after merging their parts",
	"stated_value":           "name = value was compared by its value",
	"chain":                  "a member of the predicted chain of equations is proven to differ from the gold answer",
	"relation":               "equations were compared up to a constant factor, inequalities up to a positive one",
	"inequality_as_interval": "the gold inequality was compared with the set that answers it",
	"type":                   "the two sides are of types that cannot be equal",
	"paper_string":           "paper mode: equal as strings after its normalisation",
	"paper_choice":           "paper mode: the last letter A to E is the gold one",
	"paper_number":           "paper mode: numbers within 1e-4 of the gold one, a hundredth or a hundred times of it",
	"paper_brackets":         "paper mode: equal as strings without brackets",
	"paper_list":             "paper mode: bracketed lists, equal part by part in order",
	"paper_matrix":           "paper mode: matrices, equal cell by cell",
	"paper_equation":         "paper mode: equations, equal up to sign",
	"paper_symbolic":         "paper mode: equal expressions, or values within 1e-4",
	"paper_unequal":          "paper mode: no rule of the paper's grader makes them equal",
}

// ExplainRule explains a value of Verdict.Rule in a sentence; "" if there is no such rule.
func ExplainRule(rule string) string { return rules[rule] }

// Rules returns every value that Verdict.Rule may have, in alphabetical order.
func Rules() []string { return slices.Sorted(maps.Keys(rules)) }
