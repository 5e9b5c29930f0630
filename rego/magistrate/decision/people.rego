# METADATA
# title: People
# description: |
#   Who counts towards a requirement. A person counts once in each row and fills one row only; whether that can be done is
#   Hall's condition: every group of rows must have as many people between them as it asks for.
package magistrate.people

import data.catalogue.installation

# METADATA
# title: Who stands in which relation to the intent
related := {
	"proposer": {id | input.proposer.type == "operator"; id := input.proposer.id},
	"owner": {input.proposer.owner},
	"author": {input.author},
	"subject": {id | input.subject.type == "operator"; id := input.subject.id},
}

# METADATA
# title: Whether this person is kept out by one of these relations
excluded(person, relations) if {
	some relation in relations
	person in related[relation]
}

# METADATA
# title: Whether this person's yes, proved so, would fill a place in the row
fills(roles, proof, row) if {
	some role in roles
	role in row.roles
	installation.proofs[proof] >= installation.proofs[row.proof]
}

# METADATA
# title: The approvals that count towards a requirement
# description: A yes that has not expired, by a person not kept out, that fills a place in some row.
counted(requirement) := {approval |
	some approval in input.approvals
	approval.verdict == "approve"
	approval.expires_at > input.now.unix
	not _kept_out(approval, requirement)
	some row in requirement.all_of
	fills(approval.roles, approval.proof, row)
}

_kept_out(approval, requirement) if excluded(approval.operator, requirement.exclude)

# METADATA
# title: How many people each row still misses, in the rows' order
# description: |
#   A group of rows is a number whose bits are its rows, so the groups of the first n rows are the numbers below 2^n. What
#   they miss together, at worst, is what cannot be filled however people are placed; a row's own part of it is what it
#   adds to the rows before it.
missing(rows, approvals) := [gap |
	some i, _ in rows
	lacks := _lacks(rows, approvals)
	gap := _worst(lacks, i + 1) - _worst(lacks, i)
]

_worst(lacks, n) := max(array.slice(lacks, 0, bits.lsh(1, n)))

_lacks(rows, approvals) := [lack |
	some group in numbers.range(0, bits.lsh(1, count(rows)) - 1)
	members := [row | some i, row in rows; bits.and(group, bits.lsh(1, i)) > 0]
	wanted := sum([row.count | some row in members])
	found := count({approval.operator |
		some approval in approvals
		some row in members
		fills(approval.roles, approval.proof, row)
	})
	lack := wanted - found
]
