// What does not fit together is told before anything is made: all that begins waits for this.
// It makes nothing. That is all a template can say no with that the policy scan can read.

@description('What is wrong with the parameters, in words; empty: nothing.')
@allowed([
  ''
])
param wrong string

output fits bool = empty(wrong)
