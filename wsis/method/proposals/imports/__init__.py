"""Proposals made elsewhere, from files to a ProposalSet."""
