"""A real Kubernetes cluster for tests: whichever KUBECONFIG names, or one that a command brings up.

What is told by the environment:

- `KUBECONFIG`: the cluster, as kubectl reads it;
- `STARLINGS_TEST_CLUSTER_UP`: a command that brings a cluster up and prints `export NAME=value`
  lines (KUBECONFIG among them, and any of the following); it wins over KUBECONFIG;
- `STARLINGS_TEST_CLUSTER_DOWN`: a command that takes it down, run at the end whatever happened;
- `STARLINGS_TEST_IMAGE_LOAD`: a command that is given the archive of an image and its name, and
  puts it onto the nodes. Without it: `kind load`, `k3d image import`, or a push to `REGISTRY`;
- `STARLINGS_TEST_IMAGES`: `registry:tag` of images that are there already; none is built then;
- `STARLINGS_TEST_CLUSTER_KAFKA`: a Kafka that pods and this machine reach by one name. Without it
  a local broker listens on the address by which nodes reach this machine.

Everything is made in a namespace of the session's own, and removed with it.
"""
