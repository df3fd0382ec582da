// The judge of PromQL: the parser of Prometheus, or with mimir.mod that of Mimir.
package main

import (
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"

	"scopegate/integration/judge/lines"
)

// All that a server may have switched on: what is refused then is refused by every server.
var promql = parser.NewParser(parser.Options{
	EnableExperimentalFunctions:  true,
	ExperimentalDurationExpr:     true,
	EnableExtendedRangeSelectors: true,
	EnableBinopFillModifiers:     true,
})

func main() {
	lines.Serve("promql", judge)
}

func judge(question lines.Question) (lines.Verdict, error) {
	// Series selectors have an entrance of their own to the grammar.
	if question.As == "selector" {
		matchers, err := promql.ParseMetricSelector(question.Query)
		return lines.Verdict{Selectors: [][]lines.Matcher{selector(matchers)}}, err
	}
	return query(question.Query)
}

func query(text string) (lines.Verdict, error) {
	tree, err := promql.ParseExpr(text)
	if err != nil {
		return lines.Verdict{}, err
	}
	var verdict lines.Verdict
	walked := map[*parser.VectorSelector]bool{}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if found, is := node.(*parser.VectorSelector); is {
			walked[found] = true
			verdict.Selectors = append(verdict.Selectors, selector(found.LabelMatchers))
		}
		return nil
	})
	return verdict, lines.Same(walked, lines.Everywhere[parser.VectorSelector](tree))
}

func selector(matchers []*labels.Matcher) []lines.Matcher {
	selector := make([]lines.Matcher, 0, len(matchers))
	for _, matcher := range matchers {
		selector = append(selector, lines.Matcher{
			Name: matcher.Name, Op: matcher.Type.String(), Value: matcher.Value,
		})
	}
	return selector
}
