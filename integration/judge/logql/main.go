// The judge of LogQL: the parser of Loki.
package main

import (
	"errors"

	"github.com/grafana/loki/v3/pkg/logql/syntax"

	"scopegate/integration/judge/lines"
)

func main() {
	lines.Serve("logql", judge)
}

func judge(question lines.Question) (lines.Verdict, error) {
	// Parts of Loki parse without validation, so selectors are sought in what that gives.
	tree, err := syntax.ParseExprWithoutValidation(question.Query)
	if err != nil {
		return lines.Verdict{}, err
	}
	if tree == nil {
		return lines.Verdict{}, errors.New("no tree and no error")
	}
	var verdict lines.Verdict
	if question.Strict {
		_, err = syntax.ParseExpr(question.Query)
		verdict.Lenient = err != nil
	}
	walked := map[*syntax.MatchersExpr]bool{}
	tree.Walk(func(node syntax.Expr) bool {
		if found, is := node.(*syntax.MatchersExpr); is {
			walked[found] = true
			verdict.Selectors = append(verdict.Selectors, selector(found))
		}
		return true
	})
	return verdict, lines.Same(walked, lines.Everywhere[syntax.MatchersExpr](tree))
}

func selector(node *syntax.MatchersExpr) []lines.Matcher {
	selector := make([]lines.Matcher, 0, len(node.Mts))
	for _, matcher := range node.Mts {
		selector = append(selector, lines.Matcher{
			Name: matcher.Name, Op: matcher.Type.String(), Value: matcher.Value,
		})
	}
	return selector
}
