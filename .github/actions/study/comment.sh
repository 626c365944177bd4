#!/usr/bin/env bash
# comment.sh PAGE: put a page under a pull request, in one comment that later runs replace.
#
# It needs gh, and the variables GH_TOKEN, GITHUB_REPOSITORY, PULL_REQUEST (its number) and NAME (of the study). A token
# that may not write, as that of a pull request from a fork, is no failure: the page is in the summary of the run too.
set -euo pipefail
page=$1
if [[ ! -f $page ]]; then
  echo "comment.sh: there is no page $page, so there is nothing to say"
  exit 0
fi
mark="<!-- ddpbench: $NAME -->" # nobody sees it; it tells this study's comment from all others
comments=repos/$GITHUB_REPOSITORY/issues/$PULL_REQUEST/comments
body=$(mktemp)
trap 'rm -f "$body"' EXIT
{
  echo "$mark"
  head -c 60000 "$page" # a comment may have 65,536 characters
} >"$body"
export mark
# Anyone may write a comment that begins with the mark: only the one of the robot, whose token this is, is replaced.
mine='.[] | select(.user.login == "github-actions[bot]" and (.body | startswith(env.mark))) | .id'
if ids=$(gh api --paginate "$comments" --jq "$mine"); then
  id=$(head -n 1 <<<"$ids")
  if [[ -n $id ]]; then
    target=(--method PATCH "repos/$GITHUB_REPOSITORY/issues/comments/$id")
  else
    target=(--method POST "$comments")
  fi
  if gh api "${target[@]}" --field "body=@$body" >/dev/null; then exit 0; fi
fi
echo "::notice::the summary could not be put under the pull request: it needs permissions: pull-requests: write, \
which a pull request from a fork does not get. The summary is on the page of this run."
