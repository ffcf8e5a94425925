package network

// Loopback brings up lo in the namespace at the path netns and sets the sysctls that every pod's namespace has: ping and
// low ports need no capability, and no router advertisement is believed (CVE-2020-10749, CVE-2020-13401). Idempotent.
func Loopback(netns string) error {
	return inNamespace(netns, func(ns *namespace) error {
		if err := ns.sysctls(podSysctls); err != nil {
			return err
		}
		return ns.linkUp("lo")
	})
}
