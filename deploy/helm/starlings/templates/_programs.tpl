{{/*
What runs: the planner, the coordinator, each agent and each variant, with its own settings.

`include "starlings.programs" $ctx` fills `$ctx.programs`; each has component, agent, variant, name (of its
objects), path (of its values, for messages), set (its settings), partitions (of the topic that it shares
with its other instances), and groups: the consumer groups that it reads in, with their topics.
*/}}

{{- define "starlings.programs" -}}
{{- $root := .root -}}
{{- $prefix := $root.Values.topics.prefix -}}
{{- $full := include "starlings.fullname" $root -}}
{{- $programs := list -}}
{{- range $component, $topic := dict "coordinator" "events" "planner" "requests" -}}
{{- $set := deepCopy $root.Values.defaults -}}
{{- include "starlings.overlay" (dict "onto" $set "from" (index $root.Values $component)) -}}
{{- $group := dict "group" (printf "%s%s" $prefix $component) "topic" (printf "%s%s" $prefix $topic) -}}
{{- $programs = append $programs (dict "component" $component "agent" "" "variant" "" "name" (printf "%s-%s" $full $component) "path" $component "set" $set "partitions" (int $root.Values.topics.partitions) "image" $component "groups" (list $group)) -}}
{{- end -}}
{{- range $agent, $own := $root.Values.agents -}}
{{- $set := deepCopy $root.Values.defaults -}}
{{- include "starlings.overlay" (dict "onto" $set "from" $root.Values.agentDefaults) -}}
{{- include "starlings.overlay" (dict "onto" $set "from" ($own | default dict)) -}}
{{- if $set.enabled -}}
{{- $dns := include "starlings.dns" $agent -}}
{{- $path := printf "agents.%s" $agent -}}
{{- $groups := list -}}
{{- if $set.takesSteps -}}
{{- $groups = append $groups (dict "group" (printf "%sagent.%s" $prefix $agent) "topic" (printf "%ssteps.%s" $prefix $agent)) -}}
{{- end -}}
{{- range $set.listens -}}
{{- $groups = append $groups (dict "group" (printf "%sagent.%s.on.%s" $prefix $agent .) "topic" (printf "%sfacts.%s" $prefix .)) -}}
{{- end -}}
{{- $programs = append $programs (dict "component" "agent" "agent" $agent "variant" "" "name" (printf "%s-agent-%s" $full $dns) "path" $path "set" $set "partitions" (int $set.partitions) "image" (printf "agent-%s" $dns) "groups" $groups) -}}
{{- range $variant, $different := $set.variants -}}
{{- $other := deepCopy $set -}}
{{- include "starlings.overlay" (dict "onto" $other "from" ($different | default dict)) -}}
{{- if $other.enabled -}}
{{- $_ := set $other "listens" list -}}
{{- $_ := set $other "emits" list -}}
{{- $group := dict "group" (printf "%sagent.%s.%s" $prefix $agent $variant) "topic" (printf "%ssteps.%s.%s" $prefix $agent $variant) -}}
{{- $programs = append $programs (dict "component" "agent" "agent" $agent "variant" $variant "name" (printf "%s-agent-%s-%s" $full $dns (include "starlings.dns" $variant)) "path" (printf "%s.variants.%s" $path $variant) "set" $other "partitions" (int $other.partitions) "image" (printf "agent-%s" $dns) "groups" (list $group)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $programs -}}
{{- if or .set.waits (and (not .set.image) (has .agent (include "starlings.waiting" $root | splitList " "))) -}}
{{- $_ := set . "waits" true -}}
{{- else -}}
{{- $_ := set . "waits" false -}}
{{- end -}}
{{- $most := .set.autoscaling.maxReplicas -}}
{{- $_ := set . "most" (ternary .partitions ($most | default 1 | int) (kindIs "invalid" $most)) -}}
{{- $_ := set . "scaled" (ne .set.autoscaling.kind "none") -}}
{{- end -}}
{{- $_ := set . "programs" $programs -}}
{{- end -}}

{{/* Agents that come along and have jobs or sensors; a test compares this with the agents themselves. */}}
{{- define "starlings.waiting" -}}
container human sensor sql
{{- end -}}

{{/* Lay a map over another one, in place: maps are merged, all else is replaced, also by false and 0. */}}
{{- define "starlings.overlay" -}}
{{- $onto := .onto -}}
{{- range $key, $value := .from -}}
{{- if and (kindIs "map" $value) (kindIs "map" (get $onto $key)) -}}
{{- include "starlings.overlay" (dict "onto" (get $onto $key) "from" $value) -}}
{{- else if not (kindIs "invalid" $value) -}}
{{- $_ := set $onto $key (ternary (deepCopy $value) $value (kindIs "map" $value)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Topics under the prefix, without it: name, partitions, kind. */}}
{{- define "starlings.topics" -}}
{{- $root := .root -}}
{{- $topics := dict -}}
{{- $core := int $root.Values.topics.partitions -}}
{{- range $name, $partitions := dict "requests" $core "events" $core "agents" 1 "control" 1 "dead-letters" 1 -}}
{{- $_ := set $topics $name (dict "partitions" $partitions "kind" $name) -}}
{{- end -}}
{{- range .programs -}}
{{- $program := . -}}
{{- if and .agent .set.takesSteps -}}
{{- $served := ternary (printf "%s.%s" .agent .variant) .agent (ne .variant "") -}}
{{- $_ := set $topics (printf "steps.%s" $served) (dict "partitions" .partitions "kind" "steps") -}}
{{- $_ := set $topics (printf "checkpoints.%s" $served) (dict "partitions" .partitions "kind" "checkpoints") -}}
{{- end -}}
{{- if .agent -}}
{{- range concat .set.listens .set.emits -}}
{{- $_ := set $topics (printf "facts.%s" .) (dict "partitions" (max $program.partitions (dig (printf "facts.%s" .) "partitions" 0 $topics) | int) "kind" "facts") -}}
{{- end -}}
{{- range .set.ownTopics -}}
{{- $_ := set $topics .name (dict "partitions" (.partitions | default 8 | int) "kind" (ternary "compacted" "own" (.compacted | default false))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $_ := set . "topics" $topics -}}
{{- end -}}
