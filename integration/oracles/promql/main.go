// The oracle of PromQL: the parser of Prometheus, or with mimir.mod that of Mimir.
package main

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
)

// All that a server may have switched on: what is refused then is refused by every server.
var promql = parser.NewParser(parser.Options{
	EnableExperimentalFunctions:  true,
	ExperimentalDurationExpr:     true,
	EnableExtendedRangeSelectors: true,
	EnableBinopFillModifiers:     true,
})

func main() {
	Serve(oracle)
}

func oracle(question Question) (Verdict, error) {
	// Series selectors have an entrance of their own to the grammar.
	if question.As == "selector" {
		matchers, err := promql.ParseMetricSelector(question.Query)
		return Verdict{Selectors: [][]Matcher{selector(matchers)}}, err
	}
	return query(question.Query)
}

func query(text string) (Verdict, error) {
	tree, err := promql.ParseExpr(text)
	if err != nil {
		return Verdict{}, err
	}
	var verdict Verdict
	walked := map[*parser.VectorSelector]bool{}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if found, is := node.(*parser.VectorSelector); is {
			walked[found] = true
			verdict.Selectors = append(verdict.Selectors, selector(found.LabelMatchers))
		}
		return nil
	})
	return verdict, Same(walked, Everywhere[parser.VectorSelector](tree))
}

func selector(matchers []*labels.Matcher) []Matcher {
	selector := make([]Matcher, 0, len(matchers))
	for _, matcher := range matchers {
		selector = append(selector, Matcher{
			Name: matcher.Name, Op: matcher.Type.String(), Value: matcher.Value,
		})
	}
	return selector
}
