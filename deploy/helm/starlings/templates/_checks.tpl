{{/*
Contradictions in values. All are collected and told at once, each beginning with the setting's name; what
one value alone can be is said by values.schema.json.

Each check is given a context with `root`, `programs` and the list `problems`, and appends to that.
*/}}

{{- define "starlings.check" -}}
{{- $ctx := dict "root" . "problems" list -}}
{{- include "starlings.programs" $ctx -}}
{{- include "starlings.checkKafka" $ctx -}}
{{- include "starlings.checkTopics" $ctx -}}
{{- include "starlings.checkNames" $ctx -}}
{{- include "starlings.checkRouting" $ctx -}}
{{- include "starlings.checkTraces" $ctx -}}
{{- range $ctx.programs -}}
{{- include "starlings.checkScaling" (dict "ctx" $ctx "program" .) -}}
{{- include "starlings.checkEnv" (dict "ctx" $ctx "program" .) -}}
{{- end -}}
{{- if not $ctx.problems -}}
{{- include "starlings.checkSecrets" $ctx -}}
{{- include "starlings.checkPrefix" $ctx -}}
{{- end -}}
{{- if $ctx.problems -}}
{{- fail (printf "\n\nThese values cannot be:\n  - %s\n" (join "\n  - " ($ctx.problems | uniq))) -}}
{{- end -}}
{{- end -}}

{{- define "starlings.problem" -}}
{{- $_ := set .ctx "problems" (append .ctx.problems .said) -}}
{{- end -}}

{{- define "starlings.checkKafka" -}}
{{- $ctx := . -}}
{{- $kafka := .root.Values.kafka -}}
{{- $protocol := $kafka.securityProtocol -}}
{{- if not $kafka.bootstrapServers -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "kafka.bootstrapServers is empty: name your Kafka, as in kafka.example.org:9092") -}}
{{- else -}}
{{- range splitList "," $kafka.bootstrapServers -}}
{{- if not (regexMatch "^\\s*(\\[[0-9a-fA-F:.]+\\]|[A-Za-z0-9._-]+):[0-9]{1,5}\\s*$" .) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "kafka.bootstrapServers: %q is no host:port, as kafka.example.org:9092 is" .)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $users := include "starlings.ownUsers" .root -}}
{{- if include "starlings.usesSasl" .root -}}
{{- if and (not $kafka.sasl.existingSecret) (not $users) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "kafka.sasl.existingSecret is empty, and kafka.securityProtocol is %s: name a Secret with user and password" $protocol)) -}}
{{- end -}}
{{- if and (eq $kafka.sasl.mechanism "OAUTHBEARER") (not $kafka.sasl.tokenUrl) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "kafka.sasl.tokenUrl is empty, and kafka.sasl.mechanism is OAUTHBEARER: name where tokens are had") -}}
{{- end -}}
{{- else if $kafka.sasl.existingSecret -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "kafka.sasl.existingSecret is set, and kafka.securityProtocol is %s: set that to SASL_SSL (or SASL_PLAINTEXT)" $protocol)) -}}
{{- end -}}
{{- $tls := $kafka.tls -}}
{{- if and $tls.existingSecret (not (include "starlings.usesTls" .root)) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "kafka.tls.existingSecret is set, and kafka.securityProtocol is %s: set that to SSL or SASL_SSL" $protocol)) -}}
{{- end -}}
{{- if ne (empty $tls.certKey) (empty $tls.keyKey) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "kafka.tls.certKey and kafka.tls.keyKey: mutual TLS needs both; set both or neither") -}}
{{- end -}}
{{- if and (or $tls.certKey $tls.keyPasswordKey) (not $tls.existingSecret) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "kafka.tls.existingSecret is empty, and kafka.tls.certKey (or keyPasswordKey) is a key of it: name that Secret") -}}
{{- end -}}
{{- end -}}

{{- define "starlings.checkTopics" -}}
{{- $ctx := . -}}
{{- $values := .root.Values -}}
{{- $strimzi := $values.topics.strimzi -}}
{{- if eq $values.topics.provision "strimzi" -}}
{{- if not $strimzi.cluster -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "topics.strimzi.cluster is empty, and topics.provision is strimzi: name the Kafka resource") -}}
{{- end -}}
{{- if $strimzi.users -}}
{{- if and $strimzi.namespace (ne $strimzi.namespace .root.Release.Namespace) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "topics.strimzi.users makes Secrets in topics.strimzi.namespace, where pods of %q cannot read them: leave topics.strimzi.namespace empty" .root.Release.Namespace)) -}}
{{- end -}}
{{- if and (include "starlings.usesSasl" .root) (ne $values.kafka.sasl.mechanism "SCRAM-SHA-512") -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "topics.strimzi.users: Strimzi makes users for SCRAM-SHA-512, and kafka.sasl.mechanism is %s: set that to SCRAM-SHA-512" $values.kafka.sasl.mechanism)) -}}
{{- end -}}
{{- if eq $values.kafka.securityProtocol "PLAINTEXT" -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "topics.strimzi.users: kafka.securityProtocol is PLAINTEXT, where nobody has a name: set it to SASL_SSL or SSL") -}}
{{- end -}}
{{- if $values.kafka.sasl.existingSecret -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "topics.strimzi.users and kafka.sasl.existingSecret exclude each other: each program has a user of its own, or all share one; set one of them") -}}
{{- end -}}
{{- end -}}
{{- else if $strimzi.users -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "topics.strimzi.users is true, and topics.provision is %s: set that to strimzi" $values.topics.provision)) -}}
{{- end -}}
{{- if and $values.blobs.existingClaim (not (hasPrefix "file:///var/lib/starlings/blobs" $values.blobs.url)) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "blobs.existingClaim is mounted on /var/lib/starlings/blobs: set blobs.url to file:///var/lib/starlings/blobs") -}}
{{- end -}}
{{- if and (hasPrefix "file:" $values.blobs.url) (not $values.blobs.existingClaim) (not $values.defaults.volumeMounts) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "blobs.url is a folder, which pods share by a volume only: set blobs.existingClaim") -}}
{{- end -}}
{{- end -}}

{{/* Names have to fit on Kafka (topics, groups) and in Kubernetes (objects, labels). */}}
{{- define "starlings.checkNames" -}}
{{- $ctx := . -}}
{{- $seen := dict -}}
{{- if .root.Values.agentDefaults.variants -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "agentDefaults.variants: name variants at an agent, as in agents.math.variants") -}}
{{- end -}}
{{- range $agent, $set := .root.Values.agents -}}
{{- if eq $agent "starlings-planner" -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" "agents.starlings-planner: that name is the planner's own; take another") -}}
{{- end -}}
{{- range $variant, $different := dig "variants" dict ($set | default dict) -}}
{{- if hasKey ($different | default dict) "variants" -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "agents.%s.variants.%s.variants: a variant has none of its own; name them beside it" $agent $variant)) -}}
{{- end -}}
{{- if eq $variant "default" -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "agents.%s.variants.default: that is the name of the usual instances; take another" $agent)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range .programs -}}
{{- $path := .path -}}
{{- range list .agent .variant -}}
{{- if and . (not (regexMatch "^[a-z][a-z0-9_-]{0,62}$" .)) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: %q is no name of an agent or variant: a lower-case letter, then up to 62 of a-z, 0-9, '_' and '-'" $path .)) -}}
{{- else if and . (not (regexMatch "[a-z0-9]$" .)) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: %q ends in %q, which no name in Kubernetes can: end it in a letter or digit" $path . (substr (sub (len .) 1 | int) (len .) .))) -}}
{{- end -}}
{{- end -}}
{{- if gt (len .name) 63 -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: its objects are called %q, which has %d characters, and Kubernetes allows 63: take a shorter name, or set fullnameOverride" $path .name (len .name))) -}}
{{- end -}}
{{- if hasKey $seen .name -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s and %s: both are called %q in Kubernetes, which knows no '_'; rename one" (get $seen .name) $path .name)) -}}
{{- end -}}
{{- $_ := set $seen .name $path -}}
{{- range .groups -}}
{{- if gt (len .topic) 249 -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: its topic %q has more than the 249 characters that Kafka allows; shorten topics.prefix" $path .topic)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "starlings.checkRouting" -}}
{{- $ctx := . -}}
{{- $agents := .root.Values.agents -}}
{{- range $agent, $shares := .root.Values.planner.routing -}}
{{- $sum := 0.0 -}}
{{- range $variant, $share := $shares -}}
{{- $sum = addf $sum $share -}}
{{- if not (hasKey (dig $agent "variants" dict $agents) $variant) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "planner.routing.%s.%s: agents.%s.variants has no %s; name it there, or take the share out" $agent $variant $agent $variant)) -}}
{{- end -}}
{{- end -}}
{{- if gt $sum 1.0 -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "planner.routing.%s: its shares are more than 1 together; what is left goes to the usual instances" $agent)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "starlings.checkScaling" -}}
{{- $ctx := .ctx -}}
{{- $program := .program -}}
{{- $path := $program.path -}}
{{- $auto := $program.set.autoscaling -}}
{{- $least := int $auto.minReplicas -}}
{{- if $program.scaled -}}
{{- if and $program.agent (hasKey (include "starlings.own" . | fromJson) "replicas") -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.replicas is set, and %s.autoscaling.kind is %s: set minReplicas and maxReplicas instead" $path $path $auto.kind)) -}}
{{- end -}}
{{- if gt $least $program.most -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.autoscaling.minReplicas is %d, more than maxReplicas, which is %d" $path $least $program.most)) -}}
{{- end -}}
{{- if and (eq $least 0) (eq $auto.kind "hpa") -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.autoscaling.minReplicas is 0, which needs autoscaling.kind keda: an HPA keeps one" $path)) -}}
{{- end -}}
{{- if and (eq $least 0) (not $program.agent) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.autoscaling.minReplicas is 0: only agents may scale to zero, what is timed needs a %s" $path $program.component)) -}}
{{- end -}}
{{- if and (eq $least 0) $program.waits -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.autoscaling.minReplicas is 0, and it has jobs or sensors: their waiting work leaves no lag, so one instance has to stay" $path)) -}}
{{- end -}}
{{- else if dig "autoscaling" "minReplicas" 1 (include "starlings.own" . | fromJson) | int | eq 0 -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.autoscaling.minReplicas is 0, and its autoscaling.kind is none: set that to keda" $path)) -}}
{{- end -}}
{{- if and (ne $auto.kind "hpa") $auto.hpa.metrics -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.autoscaling.hpa.metrics is set, and autoscaling.kind is %s: one autoscaler at a time; leave it out" $path $auto.kind)) -}}
{{- end -}}
{{- if and (ne $auto.kind "keda") (not (kindIs "invalid" $auto.fallbackReplicas)) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.autoscaling.fallbackReplicas is KEDA's, and autoscaling.kind is %s: leave it out" $path $auto.kind)) -}}
{{- end -}}
{{- if and $program.agent (not $program.groups) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: takesSteps is false and listens is empty, so it can do nothing; set one of them" $path)) -}}
{{- end -}}
{{- if and $program.variant (not $program.set.takesSteps) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: the agent takes no steps, so it has no variants; leave them out" $path)) -}}
{{- end -}}
{{- end -}}

{{/* What stands in a program's own entry, as JSON, without what it is laid over. */}}
{{- define "starlings.own" -}}
{{- $values := .ctx.root.Values -}}
{{- if not .program.agent -}}
{{- index $values .program.component | toJson -}}
{{- else if .program.variant -}}
{{- dig .program.agent "variants" .program.variant dict $values.agents | default dict | toJson -}}
{{- else -}}
{{- dig .program.agent dict $values.agents | default dict | toJson -}}
{{- end -}}
{{- end -}}

{{- define "starlings.checkEnv" -}}
{{- $ctx := .ctx -}}
{{- $path := .program.path -}}
{{- $set := .program.set -}}
{{- $written := include "starlings.written" $ctx.root | fromJson -}}
{{- range $name := concat (keys $set.env) (keys $set.secretEnv) -}}
{{- $from := get $written $name | default (ternary "kafka" "" (hasPrefix "KAFKA_" $name)) -}}
{{- if $from -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.env (or secretEnv).%s: the chart writes it, from %s; leave it out here" $path $name $from)) -}}
{{- end -}}
{{- end -}}
{{- range $name := keys $set.env -}}
{{- if hasKey $set.secretEnv $name -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s.env.%s is in secretEnv as well; leave one out" $path $name)) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Which settings the chart's own variables come from. */}}
{{- define "starlings.written" -}}
{{- $written := dict "HOME" "nothing: /tmp is the one place to write to"
      "STARLINGS_TOPIC_PREFIX" "topics.prefix" "STARLINGS_PARTITIONS" "topics.partitions"
      "STARLINGS_LOG_FORMAT" "nothing: JSON" "STARLINGS_LOG_LEVEL" "logLevel"
      "STARLINGS_HEALTH_HOST" "nothing: the probes need it" "STARLINGS_HEALTH_PORT" "nothing: the probes need it"
      "STARLINGS_GRACE_S" "graceSeconds" "STARLINGS_INSTANCE" "the pod's name"
      "STARLINGS_BLOBS_URL" "blobs.url" "STARLINGS_CONCURRENCY" "concurrency"
      "STARLINGS_CLAIM_LEASE_S" "claimLeaseSeconds" "STARLINGS_VARIANT" "variants"
      "STARLINGS_ENSURE_TOPICS" "ownTopics" "STARLINGS_SCALES_FROM_ZERO" "autoscaling.minReplicas"
      "STARLINGS_REGISTRY_WAIT_S" "planner.registryWaitSeconds" "STARLINGS_ROUTING" "planner.routing" -}}
{{- range $key, $name := dict "existingSecret" "OPENAI_API_KEY" "baseUrl" "OPENAI_BASE_URL" "model" "STARLINGS_MODEL" -}}
{{- if index $.Values.openai $key }}{{ $_ := set $written $name (printf "openai.%s (or set model: false)" $key) }}{{ end -}}
{{- end -}}
{{- if .Values.otlp.endpoint -}}
{{- range $key, $name := dict "endpoint" "EXPORTER_OTLP_ENDPOINT" "headersSecret" "EXPORTER_OTLP_HEADERS" "resourceAttributes" "RESOURCE_ATTRIBUTES" "sampling" "TRACES_SAMPLER_ARG" -}}
{{- $_ := set $written (printf "OTEL_%s" $name) (printf "otlp.%s" $key) -}}
{{- end -}}
{{- $_ := set $written "OTEL_TRACES_SAMPLER" "otlp.sampling" -}}
{{- end -}}
{{- toJson $written -}}
{{- end -}}

{{/* Where a cluster is asked (an install, not `helm template`): the Secrets that are named have to be there. */}}
{{- define "starlings.checkSecrets" -}}
{{- $ctx := . -}}
{{- $values := .root.Values -}}
{{- $space := .root.Release.Namespace -}}
{{- if and $values.checks.secrets (lookup "v1" "ConfigMap" $space "kube-root-ca.crt") -}}
{{- $named := list -}}
{{- with $values.kafka.sasl.existingSecret -}}
{{- $named = concat $named (list (list "kafka.sasl.existingSecret" . $values.kafka.sasl.usernameKey) (list "kafka.sasl.existingSecret" . $values.kafka.sasl.passwordKey)) -}}
{{- end -}}
{{- with $values.kafka.tls.existingSecret -}}
{{- range compact (list $values.kafka.tls.caKey $values.kafka.tls.certKey $values.kafka.tls.keyKey $values.kafka.tls.keyPasswordKey) -}}
{{- $named = append $named (list "kafka.tls.existingSecret" $values.kafka.tls.existingSecret .) -}}
{{- end -}}
{{- end -}}
{{- with $values.openai.existingSecret -}}
{{- $named = append $named (list "openai.existingSecret" . $values.openai.apiKeyKey) -}}
{{- end -}}
{{- with $values.otlp.headersSecret -}}
{{- $named = append $named (list "otlp.headersSecret" . $values.otlp.headersKey) -}}
{{- end -}}
{{- with $values.blobs.existingSecret -}}
{{- $named = append $named (list "blobs.existingSecret" . "") -}}
{{- end -}}
{{- range $program := .programs -}}
{{- range $name, $from := $program.set.secretEnv -}}
{{- $named = append $named (list (printf "%s.secretEnv.%s" $program.path $name) $from.secret $from.key) -}}
{{- end -}}
{{- end -}}
{{- range $named -}}
{{- $found := lookup "v1" "Secret" $space (index . 1) -}}
{{- if not $found -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: there is no Secret %q in the namespace %q (checks.secrets=false where it is made later)" (index . 0) (index . 1) $space)) -}}
{{- else if and (index . 2) (not (hasKey ($found.data | default dict) (index . 2))) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "%s: the Secret %q has no key %q; name the right one, or add it" (index . 0) (index . 1) (index . 2))) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Two releases with one prefix would take each other's work. */}}
{{- define "starlings.checkPrefix" -}}
{{- $ctx := . -}}
{{- $root := .root -}}
{{- $name := include "starlings.claim" $root -}}
{{- $others := list -}}
{{- if eq $root.Values.checks.prefix "cluster" -}}
{{- range dig "items" list (lookup "v1" "ConfigMap" "" "") -}}
{{- if eq .metadata.name $name }}{{ $others = append $others . }}{{ end -}}
{{- end -}}
{{- else if eq $root.Values.checks.prefix "namespace" -}}
{{- with lookup "v1" "ConfigMap" $root.Release.Namespace $name }}{{ $others = append $others . }}{{ end -}}
{{- end -}}
{{- range $others -}}
{{- if not (and (eq .metadata.namespace $root.Release.Namespace) (eq (dig "data" "release" "" .) $root.Release.Name)) -}}
{{- include "starlings.problem" (dict "ctx" $ctx "said" (printf "topics.prefix: the release %q in the namespace %q uses %q on this Kafka already, and each would take the other's work: set another topics.prefix" (dig "data" "release" "?" .) .metadata.namespace $root.Values.topics.prefix)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
